"""A pair's live keys and who uses them, as a table that is kept up to date, or as plain lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from keysvc.client import KeyTraffic, Rotation, text_of

_NAMED = 3
_HEADINGS = ("key", "version", "", "calls/s", "last hour", "last day", "ever", "last used", "callers")


class Screen(Protocol):
    """Shows a rotation, as often as it is asked to."""

    def show(self, rotation: Rotation, note: str) -> None: ...


class _Table:
    """For a person."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._before: Rotation | None = None

    def show(self, rotation: Rotation, note: str) -> None:
        table = Table(title=f"{rotation.name}  {text_of(rotation, 'stage')}", caption=note, title_justify="left")
        for heading in _HEADINGS:
            left = heading in ("key", "", "callers")
            table.add_column(heading, justify="left" if left else "right", no_wrap=heading == "key")
        for key in rotation.keys:
            style = "green" if not key.old else "yellow" if key.can_be_revoked else "red"
            table.add_row(*_cells(key, rotation, self._before), style=style)
        self._before = rotation
        self._live.update(table, refresh=True)


class _Lines:
    """For a program: a line for each key whose figures changed, and each note once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def show(self, rotation: Rotation, note: str) -> None:
        for key in rotation.keys:
            calls = f"{key.calls.total:,} call{'' if key.calls.total == 1 else 's'}"
            self._tell(f"{_slot(key)} version {key.version} ({_role(key)}): {calls}")
        self._tell(note)

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            typer.echo(line)


@contextmanager
def screen(*, watched: bool) -> Iterator[Screen]:
    """A table in a terminal, lines elsewhere. Leaves the last table standing."""
    if not watched:
        yield _Lines()
        return
    with Live(console=Console(), auto_refresh=False) as live:
        yield _Table(live)


def _cells(key: KeyTraffic, rotation: Rotation, before: Rotation | None) -> tuple[str, ...]:
    calls = key.calls
    return (
        _slot(key), str(key.version), _role(key), _rate(key, rotation, before), f"{calls.last_hour:,}",
        f"{calls.last_day:,}", f"{calls.total:,}", _last_used(key, rotation), _callers(key),
    )  # fmt: skip


def _slot(key: KeyTraffic) -> str:
    return key.credential.rpartition("/")[2]


def _role(key: KeyTraffic) -> str:
    if key.HasField("expire_time"):
        return f"retiring until {key.expire_time.ToDatetime(tzinfo=UTC).isoformat(timespec='seconds')}"
    return ", ".join(word for word, said in (("signs", key.signs), ("old", key.old), ("new", not key.old)) if said)


def _rate(key: KeyTraffic, rotation: Rotation, before: Rotation | None) -> str:
    """Since the last look: a key that has moved to another slot is known by when it was made."""
    if before is None:
        return ""
    made = key.create_time.ToNanoseconds()
    earlier = next((other for other in before.keys if other.create_time.ToNanoseconds() == made), None)
    seconds = (rotation.time.ToNanoseconds() - before.time.ToNanoseconds()) / 1e9
    if earlier is None or seconds <= 0:
        return ""
    return f"{max(0, key.calls.total - earlier.calls.total) / seconds:,.1f}"


def _last_used(key: KeyTraffic, rotation: Rotation) -> str:
    if not key.calls.HasField("last_used_time"):
        return "never"
    now: datetime = rotation.time.ToDatetime(tzinfo=UTC)
    seconds = max(0, int((now - key.calls.last_used_time.ToDatetime(tzinfo=UTC)).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _callers(key: KeyTraffic) -> str:
    names = [caller.principal.removeprefix("principals/") or "(not known)" for caller in key.callers]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
