"""Which core does what, how much processor time a process has used, and how much memory it has."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for servers and one for the load; the same one where there is no second."""

    server: int
    load: int

    @property
    def apart(self) -> bool:
        return self.server != self.load


def choose() -> Cores:
    """Of those that this process may use. The last two, because interrupts tend to the first."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(server=allowed[-1], load=allowed[-2] if len(allowed) > 1 else allowed[-1])


@contextmanager
def on_cores(*cores: int) -> Iterator[None]:
    """This thread runs on these alone, and so does every thread and process that it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(*pids: int) -> float:
    """User and system time of all threads of these processes, which /proc/PID/stat tells in hundredths only."""
    return sum(map(_cpu_seconds, pids))


def _cpu_seconds(pid: int) -> float:
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def resident_mib(*pids: int) -> float:
    """Of these processes, what they share counted for each (proc(5), statm)."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
