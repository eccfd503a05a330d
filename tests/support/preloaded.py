"""The `keysvc` program in processes that had loaded it before they were asked: loading is most of what a start costs.

Each is a process of its own, forked from one that has imported the program and done nothing else. It gets arguments,
an environment and outputs of its own, and begins where the installed program has seen to its environment. What only a
start from nothing can show is tested with those: `serving_anew` and `run_anew` of `support.program`.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_BEFORE = "keysvc.cli.main"
_PROGRAM = "keysvc.cli.commands"
# What importing the first adds to its environment, which the process's own takes the place of.
_ADDED = {"GRPC_VERBOSITY": "NONE"}


class Loaded:
    """A process, with the names that `subprocess.Popen` has for the same."""

    def __init__(
        self, arguments: list[str], environment: Mapping[str, str], stdout: Path, stderr: Path, directory: Path = Path()
    ) -> None:
        """Starts `arguments[0]`, which is keysvc, in `directory`. Outputs are added to the files."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_BEFORE, _PROGRAM, __name__])
        self.args = arguments
        become = (arguments, {**_ADDED, **environment}, stdout, stderr, directory.absolute())
        self._process = context.Process(target=_become, args=become)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended: its id is then free for another."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def run(arguments: list[str], environment: Mapping[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    """To its end. Raises TimeoutExpired."""
    with tempfile.TemporaryDirectory() as directory:
        stdout, stderr = Path(directory) / "stdout", Path(directory) / "stderr"
        process = Loaded(arguments, environment, stdout, stderr)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, code, stdout.read_text(), stderr.read_text())


def _become(arguments: list[str], environment: dict[str, str], stdout: Path, stderr: Path, directory: Path) -> None:
    """The program, as its console script runs it."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = arguments
    for number, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - to its end
    importlib.import_module(_PROGRAM).run()
