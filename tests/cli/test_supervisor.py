"""The supervisor, with small programs in the place of workers that misbehave."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.waiting import until

PROGRAM = """
import subprocess, sys
from keysvc.cli import logs
from keysvc.cli.supervisor import Supervisor
from keysvc.cli.worker import Worker

def start(number):
    pipe = subprocess.PIPE
    return Worker(number, subprocess.Popen([sys.executable, "-S", "-c", sys.argv[1]], stdin=pipe, stdout=pipe))

logs.to_stderr(logs.for_machines())
sys.exit(Supervisor(start, 2, 1.0).run(lambda: print("all serve", flush=True)))
"""
READY = "import os, signal, sys, time; os.write(1, b'ready\\n'); "
DIES_AT_ONCE = READY + "sys.exit(3)"
MUST_NOT_START_AGAIN = READY + "sys.exit(4)"
NEVER_SERVES = "import os, time; os.write(2, b'{}\\n'); time.sleep(60)"
DOES_NOT_END = READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(2, b'{}\\n'); time.sleep(60)"


class Supervised:
    def __init__(self, process: subprocess.Popen[bytes], told: Path) -> None:
        self.process, self._told = process, told

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._told.read_text().splitlines()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events() if entry.get("event") == event]


@contextmanager
def supervising(program: str, tmp_path: Path) -> Iterator[Supervised]:
    told = tmp_path / "told"
    with told.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, program], stdout=subprocess.DEVNULL, stderr=file)
    try:
        yield Supervised(process, told)
    finally:
        process.kill()
        process.wait()


def test_one_that_dies_again_and_again_is_replaced_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    with supervising(DIES_AT_ONCE, tmp_path) as supervised:
        until(lambda: len(supervised.logged("worker.died")) >= 5)
        supervised.end()
        pauses = [died["pause"] for died in supervised.logged("worker.died") if died["worker"] == 1]
    assert [0.5, 1.0] == pauses[:2]


def test_one_that_must_not_start_again_is_not_and_without_any_it_ends(tmp_path: Path) -> None:
    with supervising(MUST_NOT_START_AGAIN, tmp_path) as supervised:
        assert 1 == supervised.process.wait(20)
    assert [1, 2] == sorted(given_up["worker"] for given_up in supervised.logged("worker.given_up"))
    assert 2 == len(supervised.logged("worker.serving"))


def test_sigterm_while_a_worker_starts_ends_it(tmp_path: Path) -> None:
    with supervising(NEVER_SERVES, tmp_path) as supervised:
        until(lambda: [{}] == supervised.events())
        assert 0 == supervised.end()
    assert [] == supervised.logged("worker.serving")


def test_one_that_does_not_end_is_killed_and_told(tmp_path: Path) -> None:
    with supervising(DOES_NOT_END, tmp_path) as supervised:
        until(lambda: 2 == supervised.events().count({}))
        assert 1 == supervised.end()
