"""Which core a worker runs on: one for good, where the workers are enough to use all.

Python runs one thread of a process at a time, and a call passes through several. Where they wake each other on one
core, that is cheap; across cores it is not, and two processes whose threads wander over two cores answer fewer
calls than one process on one core.
"""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from contextlib import suppress


def cores_of(number: int, workers: int, allowed: AbstractSet[int]) -> set[int]:
    """Of the cores that the service may use, those of the worker of this number, from 1.

    Fewer workers than cores are left to the system: every service on this machine would choose the same core.
    """
    ordered = sorted(allowed)
    if workers < len(ordered):
        return set(ordered)
    return {ordered[(number - 1) % len(ordered)]}


def keep(pid: int, number: int, workers: int) -> None:
    """Keeps a process that has just been started on its cores, and all threads that it will have.

    It runs anywhere where the system has no such thing, or does not allow it.
    """
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(pid, cores_of(number, workers, os.sched_getaffinity(0)))
