"""What the workers of a service use of the machine, looked at now and then, as the system tells it. For Linux."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.processes import children_of, status_of

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. Of each worker, in the order of their process ids."""

    seconds: float
    """Since the load began."""
    memory: tuple[float, ...]
    """Resident, MB."""
    files: tuple[int, ...]
    threads: tuple[int, ...]
    cpu: float
    """Seconds of CPU since they were started, of all of them."""


def sample(supervisor: int, seconds: float) -> Sample:
    pids = children_of(supervisor)
    return Sample(
        seconds,
        tuple(status_of(pid, "VmRSS") / 1024 for pid in pids),
        tuple(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
        tuple(status_of(pid, "Threads") for pid in pids),
        sum(_cpu(pid) for pid in pids),
    )


@dataclass(frozen=True, slots=True)
class Trend:
    """The most that was seen of something in two parts of a run: the third after the warm-up, and the last third."""

    early: float
    late: float

    @property
    def growth(self) -> float:
        return self.late - self.early


def trend(samples: Sequence[Sample], warm_up: float, of: Callable[[Sample], float]) -> Trend:
    warm = [each for each in samples if each.seconds >= warm_up]
    third = max(1, len(warm) // 3)
    return Trend(max(map(of, warm[:third])), max(map(of, warm[-third:])))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
