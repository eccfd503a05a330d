"""Callers whose passwords are renewed, and who are disabled: what became of them, and who was let in wrongly.

A caller has passwords by number, from 0. One ends when the next is set, or when its caller is disabled.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from endurance.spans import Bounds, Span


@dataclass(frozen=True, slots=True)
class PasswordSet:
    """The end is infinite where nobody was told what came of it; the caller is then left alone."""

    span: Span
    caller: str
    number: int


@dataclass(frozen=True, slots=True)
class Disabled:
    """The end is infinite where nobody was told what came of it."""

    span: Span
    caller: str


@dataclass(frozen=True, slots=True)
class Entered:
    """A call with a password that was known to its caller by then."""

    span: Span
    caller: str
    number: int
    let_in: bool


CallerEvent = PasswordSet | Disabled | Entered


def faults(events: Iterable[object]) -> Iterator[str]:
    """One sentence for each call that was let in, or was not, and cannot have been so rightly."""
    known = [event for event in events if isinstance(event, CallerEvent)]
    lives = _lives(known)
    for event in known:
        if isinstance(event, Entered):
            life = lives[event.caller, event.number]
            if event.let_in and not event.span.touches(life.possibly):
                yield f"a caller was let in with a password that had ended: {event}"
            if not event.let_in and event.span.within(life.surely):
                yield f"a caller was not let in: {event}"


def late(events: Iterable[object]) -> int:
    """How many calls had to be refused since their password had ended before they began."""
    known = [event for event in events if isinstance(event, CallerEvent)]
    lives = _lives(known)
    entered = [event for event in known if isinstance(event, Entered)]
    return sum(event.span.begin > lives[event.caller, event.number].possibly.end for event in entered)


def _lives(events: list[CallerEvent]) -> dict[tuple[str, int], Bounds]:
    ends: dict[str, list[Span]] = defaultdict(list)
    births = {(event.caller, event.number): event.span for event in events if isinstance(event, PasswordSet)}
    for event in events:
        if isinstance(event, Disabled):
            ends[event.caller].append(event.span)
    return {
        (caller, number): Bounds.of(
            birth, [*ends[caller], births.get((caller, number + 1), Span(math.inf, math.inf))]
        )
        for (caller, number), birth in births.items()
    }  # fmt: skip
