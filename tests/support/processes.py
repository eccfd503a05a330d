"""What the system tells of a process (proc(5)). For Linux."""

from __future__ import annotations

from pathlib import Path


def children_of(pid: int) -> list[int]:
    """The process ids of those that its main thread has started, in their order."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def status_of(pid: int | str, name: str) -> int:
    """A number of /proc/PID/status; memory is in KiB. `pid` may be "self"."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1])
