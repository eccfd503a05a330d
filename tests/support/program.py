"""The `keysvc` program itself: run to its end, or started and left to serve, with no settings but those given."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support import preloaded
from support.preloaded import Loaded
from support.server import PROGRAM, START_SECONDS

MODULE_PATH = Path("/usr/lib/softhsm/libsofthsm2.so")
REFUSAL_SECONDS = 20.0
_SERVING = re.compile(r"serving on ([^\s,]+)")
_SERVING_CERTIFIED = re.compile(r"clients with certificates on ([^\s;]+)")

Settings = Mapping[str, str]


def environment_of(settings: Settings) -> dict[str, str]:
    """This process's environment without settings of keysvc or SoftHSM, and with those given."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("KEYSVC_", "SOFTHSM2_"))}
    return {**ours, **settings}


def run(*arguments: str, settings: Settings) -> subprocess.CompletedProcess[str]:
    """Runs `keysvc ARGUMENTS` to its end, by a process that has loaded it already: see `support.preloaded`."""
    return preloaded.run([str(PROGRAM), *arguments], environment_of(settings), REFUSAL_SECONDS)


def run_anew(*arguments: str, settings: Settings, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs `keysvc ARGUMENTS` to its end, from nothing. `prefix` is a program that starts it."""
    return subprocess.run(
        [*prefix, str(PROGRAM), *arguments],
        env=environment_of(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=REFUSAL_SECONDS,
    )


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It ended with one line that says what to do, in these words, and no more."""
    assert 0 != done.returncode
    assert "" == done.stdout
    lines = done.stderr.splitlines()
    assert 1 == len(lines), done.stderr
    assert lines[0].startswith("keysvc: ")
    assert [word for word in words if word not in lines[0]] == [], lines[0]


@dataclass
class Running:
    """A `keysvc` that serves. Its output stands in `output`, and is all there once it was stopped."""

    process: subprocess.Popen[bytes] | Loaded
    address: str
    output: Path

    @property
    def mtls_address(self) -> str:
        """Where clients show certificates."""
        found = _SERVING_CERTIFIED.search(self.output.read_text())
        assert found is not None, self.output.read_text()
        return found[1]

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def serving(command: str, settings: Settings, directory: Path) -> Iterator[Running]:
    """Starts `keysvc COMMAND` in `directory`, by a process that has loaded it already; returns when it serves. Killed
    at the end if it was not stopped."""
    output = _new_output(command, directory)
    arguments = [str(PROGRAM), *command.split()]
    with _ended(Loaded(arguments, environment_of(settings), output, output, directory), output) as running:
        yield running


@contextmanager
def serving_anew(command: str, settings: Settings, directory: Path) -> Iterator[Running]:
    """The same, from nothing."""
    output = _new_output(command, directory)
    arguments = [str(PROGRAM), *command.split()]
    with output.open("wb") as file:
        process = subprocess.Popen(arguments, env=environment_of(settings), cwd=directory, stdout=file, stderr=file)
    with _ended(process, output) as running:
        yield running


def _new_output(command: str, directory: Path) -> Path:
    output = directory / f"{command}.{time.monotonic_ns()}.output"
    output.touch()
    return output


@contextmanager
def _ended(process: subprocess.Popen[bytes] | Loaded, output: Path) -> Iterator[Running]:
    """Serving meanwhile, and not afterwards."""
    try:
        yield Running(process, _address(process, output), output)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(timeout=30)


def _address(process: subprocess.Popen[bytes] | Loaded, output: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if match := _SERVING.search(output.read_text()):
            return match[1]
        assert process.poll() is None, output.read_text()
        time.sleep(0.02)
    raise TimeoutError(output.read_text())
