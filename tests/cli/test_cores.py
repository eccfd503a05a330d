"""Which cores workers are kept on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from keysvc.cli.cores import cores_of, keep

# Says that it runs, and then on which cores the thread runs that it starts when it is told to.
PROGRAM = """
import os, threading
os.write(1, b"here\\n")
os.read(0, 1)
threading.Thread(target=lambda: print(*os.sched_getaffinity(0))).start()
"""


@pytest.mark.parametrize(
    ("workers", "allowed", "placed"),
    [
        (2, {0, 1}, [{0}, {1}]),
        (2, {5, 3}, [{3}, {5}]),
        (3, {0, 1}, [{0}, {1}, {0}]),
        (2, {7}, [{7}, {7}]),
        (2, {0, 1, 2}, [{0, 1, 2}, {0, 1, 2}]),
    ],
)
def test_each_worker_has_one_core_where_they_are_enough_to_use_all(
    workers: int, allowed: set[int], placed: list[set[int]]
) -> None:
    assert placed == [cores_of(number, workers, allowed) for number in range(1, workers + 1)]


def test_a_process_is_kept_with_the_threads_that_it_starts_later_and_one_that_has_gone_is_no_error() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    last = len(allowed)
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        keep(process.pid, last, last)
        assert f"here\n{allowed[-1]}\n".encode() == process.communicate(b"g", timeout=20)[0]
    keep(process.pid, last, last)
    assert allowed == sorted(os.sched_getaffinity(0))
