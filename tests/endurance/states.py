"""From a history, when each merchant was active, and when it was not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from endurance.history import Event, Moved
from endurance.spans import ALWAYS, Bounds, Span


class States:
    """Merchants are active until they are moved. Those of one merchant are in the order in which they were done."""

    def __init__(self, events: Iterable[Event]) -> None:
        moves: dict[str, list[Moved]] = defaultdict(list)
        for event in events:
            if isinstance(event, Moved):
                moves[event.merchant].append(event)
        self._spells = {merchant: _spells(Moved(ALWAYS, merchant, True), moved) for merchant, moved in moves.items()}

    def surely(self, span: Span, merchant: str, *, active: bool) -> bool:
        """Whether it was so all the time."""
        spells = self._spells.get(merchant)
        if spells is None:
            return active
        return any(was is active and span.within(bounds.surely) for was, bounds in spells)

    def possibly(self, span: Span, merchant: str, *, active: bool) -> bool:
        """Whether it may have been so at some time."""
        return not self.surely(span, merchant, active=not active)


def _spells(first: Moved, moved: list[Moved]) -> list[tuple[bool, Bounds]]:
    """How long it was active or was not. What changes nothing ends no spell."""
    turns = [first]
    turns += [move for before, move in zip([first, *moved], moved, strict=False) if move.active != before.active]
    ends = [[turn.span] for turn in turns[1:]]
    return [(turn.active, Bounds.of(turn.span, end)) for turn, end in zip(turns, [*ends, []], strict=True)]
