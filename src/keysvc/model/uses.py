"""How often keys are used: the steps of time that uses are counted in, and what they add up to.

A key is known by its fingerprint here, which it keeps wherever it is moved. Uses are counted in steps of ten
minutes; steps that are past are folded into hours, and hours into one count of all that was before. So a window of
time is told a little too large, and never too small.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from keysvc.model.names import principal_name

TEN_MINUTES = 600
HOUR = 3600
EVER = 0
"""The lengths of steps, in seconds. EVER is all that was before."""
FINE_FOR = timedelta(hours=2)
"""How long steps of ten minutes stay as they are: longer than the hour that is told of."""
HOURLY_FOR = timedelta(hours=26)
"""How long steps of an hour do: longer than the day."""
LATE = timedelta(seconds=2)
"""A use may be known this much later than it happened: other replicas write theirs down once a second."""

_LAST_HOUR = 3600
_LAST_DAY = 24 * 3600


class Use(NamedTuple):
    """Whose use of which key in which step. One row of the store."""

    merchant_id: str
    fingerprint: str
    principal: str
    step: int
    since: int
    """When the step began, in seconds since 1970; 0 for EVER."""


class Tally(NamedTuple):
    """How often, and when last."""

    calls: int
    last_used_time: datetime

    def __add__(self, other: object) -> Tally:
        if not isinstance(other, Tally):
            return NotImplemented
        return Tally(self.calls + other.calls, max(self.last_used_time, other.last_used_time))


@dataclass(frozen=True, slots=True)
class Calls:
    """What is told of a key's use, or of one caller's."""

    last_hour: int = 0
    last_day: int = 0
    total: int = 0
    last_used_time: datetime | None = None


Uses = dict[Use, Tally]


def step_of(time: datetime) -> int:
    """When the step of ten minutes began that a time is in."""
    second = int(time.timestamp())
    return second - second % TEN_MINUTES


def add(uses: Uses, use: Use, tally: Tally) -> None:
    before = uses.get(use)
    uses[use] = tally if before is None else before + tally


def folded(use: Use, now: datetime) -> Use:
    """The longer step that this one is to be counted in, or the same."""
    if use.step == TEN_MINUTES and _ended_before(use, now - FINE_FOR):
        return use._replace(step=HOUR, since=use.since - use.since % HOUR)
    if use.step == HOUR and _ended_before(use, now - HOURLY_FOR):
        return use._replace(step=EVER, since=0)
    return use


def calls_of(tallies: Iterable[tuple[Use, Tally]], now: datetime) -> Calls:
    """What uses add up to, of whichever keys and callers they are."""
    second = now.timestamp()
    hour = day = total = 0
    last: datetime | None = None
    for use, tally in tallies:
        total += tally.calls
        end = use.since + use.step
        if end > second - _LAST_DAY:
            day += tally.calls
        if end > second - _LAST_HOUR:
            hour += tally.calls
        last = tally.last_used_time if last is None else max(last, tally.last_used_time)
    return Calls(hour, day, total, last)


def last_uses(found: Uses) -> dict[str, datetime]:
    """When each key was used last, by its fingerprint."""
    latest: dict[str, datetime] = {}
    for use, tally in found.items():
        latest[use.fingerprint] = max(tally.last_used_time, latest.get(use.fingerprint, tally.last_used_time))
    return latest


def callers_of(found: Uses, fingerprints: Collection[str], now: datetime) -> list[tuple[str, Calls]]:
    """What each principal's uses of any of the keys add up to, the last to use one first."""
    by_caller: dict[str, list[tuple[Use, Tally]]] = {}
    for use, tally in found.items():
        if use.fingerprint in fingerprints:
            by_caller.setdefault(use.principal, []).append((use, tally))
    told = [(principal, calls_of(tallies, now)) for principal, tallies in by_caller.items()]
    return sorted(told, key=lambda each: each[1].last_used_time or now, reverse=True)


def recent_callers(
    callers: Iterable[tuple[str, Calls]], unused_for: timedelta, now: datetime
) -> list[tuple[str, datetime]]:
    """Who used a key within `unused_for`, and the time by which a use may be late, with when: the last first."""
    since = now - unused_for - LATE
    recent: dict[str, datetime] = {}
    for principal, calls in callers:
        used = calls.last_used_time
        if used is not None and used > since:
            recent[principal] = max(used, recent.get(principal, used))
    return sorted(recent.items(), key=lambda each: each[1], reverse=True)


def told_use(recent: list[tuple[str, datetime]], most: int) -> str:
    """When it was last, and by whom, in words. There is at least one."""
    names = [principal_name(principal) if principal else "a caller not known" for principal, _ in recent[:most]]
    more = f" and {len(recent) - most} more" if len(recent) > most else ""
    return f"{recent[0][1].isoformat(timespec='seconds')}, by {', '.join(names)}{more}"


def _ended_before(use: Use, time: datetime) -> bool:
    # Of an hour: its ten minutes are folded together, or not at all.
    hour_end = use.since - use.since % HOUR + HOUR
    return hour_end <= time.timestamp()
