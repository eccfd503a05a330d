"""From a history, how long each key stood where, and how long it verified.

Every life has two bounds: the span in which the key surely counted, and the longest in which it possibly did.
A swap moves a key: it then stands in another place, which is a slot and a version, and it lives on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from endurance.history import CREATE, FILLS, REVOKE, REVOKE_ONE, Changed
from endurance.keys import Key, Place
from endurance.spans import Bounds, Span


@dataclass(frozen=True, slots=True)
class Life:
    """How long a key was the current one in one place, and how long it verified there."""

    place: Place
    key: Key
    """As it was told when it was made."""
    current: Bounds
    verifies: Bounds


class Lives:
    """All of a history's keys. The changes are in order (see `disorder`)."""

    def __init__(self, changes: dict[str, list[Changed]]) -> None:
        births = {c.key.place: c for listed in changes.values() for c in listed if c.method in FILLS}
        self.at: dict[Place, Life] = {}
        self.of_key: dict[Place, list[Life]] = defaultdict(list)
        """Wherever it stood, by the place where it was made; the first first."""
        self.in_slot: dict[str, list[Life]] = defaultdict(list)
        self.held: dict[str, list[Bounds]] = {}
        """While a slot held a current key, one or another."""
        for name, listed in changes.items():
            self.held[name] = list(_held(listed))
        moves = {place: list(_moves(birth, births)) for place, birth in births.items()}
        for place in sorted(births, key=lambda place: len(moves[place])):
            key = moves[place][-1].key
            life = _life(births[place], key, births.get((place[0], place[1] + 1)), changes[place[0]])
            self.at[place] = life
            self.in_slot[place[0]].append(life)
            self.of_key[key.place].append(life)

    def key(self, place: Place) -> Key | None:
        """The key that stood in a place."""
        life = self.at.get(place)
        return life.key if life else None

    def whole(self, key: Key) -> Bounds:
        """How long a key verified, wherever it stood."""
        first, last = self.of_key[key.place][0].verifies, self.of_key[key.place][-1].verifies
        return Bounds(
            surely=Span(first.surely.begin, last.surely.end), possibly=Span(first.possibly.begin, last.possibly.end)
        )

    def surely_lived(self, span: Span, key: Key, credentials: list[str]) -> bool:
        """In these slots, all the time: in both of a pair, wherever it stood."""
        stood = self.of_key[key.place]
        if all(life.place[0] in credentials for life in stood):
            return span.within(self.whole(key).surely)
        return any(span.within(life.verifies.surely) for life in stood if life.place[0] in credentials)

    def surely_held(self, span: Span, credential: str) -> bool:
        """Whether the slot held a current key all the time."""
        return any(span.within(held.surely) for held in self.held.get(credential, []))

    def possibly_held(self, span: Span, credential: str) -> bool:
        return any(span.touches(held.possibly) for held in self.held.get(credential, []))

    def surely_live(self, span: Span, credentials: list[str]) -> list[Key]:
        """The keys that lived in these slots all the time."""
        near = {
            life.key.place: life.key
            for credential in credentials for life in self.in_slot.get(credential, [])
            if span.touches(life.verifies.possibly)
        }  # fmt: skip
        return [key for key in near.values() if self.surely_lived(span, key, credentials)]

    def possibly_live(self, span: Span, credentials: list[str]) -> int:
        """How many places of these slots may have held a live key at some time."""
        lives = [life for credential in credentials for life in self.in_slot.get(credential, [])]
        return sum(span.touches(life.verifies.possibly) for life in lives)


def _moves(birth: Changed, births: dict[Place, Changed]) -> Iterator[Changed]:
    """The swaps that brought a key here, the last first, and then what made it."""
    yield birth
    while birth.source:
        birth = births[birth.source]
        yield birth


def _life(birth: Changed, key: Key, successor: Changed | None, changes: list[Changed]) -> Life:
    place = birth.key.place
    own_end = [c.span for c in changes if c.method == REVOKE and c.key.version == place[1]]
    # A revoke ends every key of the slot, those that are retiring too.
    any_end = [c.span for c in changes if c.method == REVOKE and c.key.version >= place[1]]
    any_end += [c.span for c in changes if c.method == REVOKE_ONE and c.key.version == place[1]]
    if successor and successor.method != CREATE:
        own_end.append(successor.span)
        # Until the renewal is done, the key is current and knows no end, even one that has passed.
        ends = successor.previous_ends or successor.span
        any_end.append(Span(max(successor.span.begin, ends.begin), max(successor.span.end, ends.end)))
    return Life(place, key, Bounds.of(birth.span, own_end), Bounds.of(birth.span, any_end))


def _held(changes: list[Changed]) -> Iterator[Bounds]:
    revokes = {change.key.version: change.span for change in changes if change.method == REVOKE}
    for birth in changes:
        if birth.method == CREATE:
            ends = [span for version, span in revokes.items() if version >= birth.key.version]
            yield Bounds.of(birth.span, ends)
