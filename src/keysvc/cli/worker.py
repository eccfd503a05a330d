"""One of several processes that serve on one port: how it is started, says that it serves, and ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

READY = b"ready\n"
"""On stdout, once it serves."""
NEVER_AGAIN = 4
"""The exit code where another try would only do harm: the token locks after a few wrong PINs."""
_COMMAND = (sys.executable, "-P", "-m", "keysvc.cli.main", "worker")


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that was started, as its parent sees it."""

    number: int
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=monotonic)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def descriptor(self) -> int:
        """Has something to read when the worker serves, or has ended."""
        assert self.process.stdout is not None  # noqa: S101 - it was started with a pipe
        return self.process.stdout.fileno()

    def says_ready(self) -> bool:
        """Blocks until the descriptor has something to read."""
        return os.read(self.descriptor, len(READY)) == READY

    def tell(self, number: signal.Signals) -> None:
        """Nothing where it has ended."""
        self.process.send_signal(number)

    def end_by(self, deadline: float) -> int:
        """Waits, and kills it when time is up; returns its exit code."""
        try:
            code = self.process.wait(max(0.0, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.forget()
        return code

    def forget(self) -> None:
        """Closes the pipes to it."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


Start = Callable[[int], Worker]
"""Starts the worker of this number."""


def start(number: int, settings: Mapping[str, str]) -> Worker:
    """The same program anew, with these settings beside its own. Never a fork: the token's module stands none."""
    process = subprocess.Popen(
        [*_COMMAND, str(number)],
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    return Worker(number, process)


def end_with_parent() -> None:
    """In the worker: its stdin ends when its parent does, however that ended. It then drains."""

    def watch() -> None:
        # It must not take what the main thread waits for: its default here would end the process midway.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="keysvc-parent", daemon=True).start()


def say_ready() -> None:
    os.write(1, READY)
