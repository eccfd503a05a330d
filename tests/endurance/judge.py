"""What is wrong with a recorded history: one sentence for each answer that cannot have been right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from endurance.history import Event, Life, Refused, Signed, Span, Verified, by_credential, disorder, lives
from endurance.keys import HMAC_PAIR, asked_slots, merchant_of, slot_of
from endurance.slots import MAX_RETIRING


class Judge:
    """Knows every change of the history, so it can judge every other answer."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = list(events)
        changes = by_credential(self._events)
        self._disorder = [f"{name}: {fault}" for name, listed in changes.items() for fault in disorder(listed)]
        self._lives = {} if self._disorder else {name: lives(listed) for name, listed in changes.items()}

    def faults(self) -> list[str]:
        """Empty where nothing is wrong."""
        return self._disorder or [f"{fault}: {event}" for event in self._events for fault in self._judge(event)]

    def _judge(self, event: Event) -> Iterator[str]:
        match event:
            case Verified() if event.answer.result == "VALID":
                yield from self._judge_valid(event)
            case Verified():
                yield from self._judge_invalid(event)
            case Signed():
                yield from self._judge_signed(event)
            case Refused():
                yield from self._judge_refused(event)
            case _:
                return  # changes were looked at together

    def _judge_valid(self, event: Verified) -> Iterator[str]:
        if event.key is None:
            yield "a forged MAC or key was accepted"
            return
        if (event.key.credential, event.key.version) != (event.answer.credential, event.answer.version):
            yield "another key is said to have matched"
        life = self._lives[event.key.credential][event.key.version]
        if not event.span.touches(life.verifies.possibly):
            yield "a key that had ended was accepted"
        if event.answer.retiring and event.span.within(life.current.surely):
            yield "the slot's current key is said to be retiring"
        if not event.answer.retiring and event.span.begin > life.current.possibly.end:
            yield "a retiring key is said to be current"

    def _judge_invalid(self, event: Verified) -> Iterator[str]:
        asked = self._asked(event.name, event.slot)
        if event.answer.result not in ("INVALID", "NO_LIVE_KEY"):
            yield "no such answer is right here"
        if event.key and event.span.within(self._lives[event.key.credential][event.key.version].verifies.surely):
            yield "a live key was refused"
        if event.answer.result == "NO_LIVE_KEY" and any(event.span.within(life.verifies.surely) for life in asked):
            yield "there was a live key"
        if event.answer.result == "INVALID" and not any(event.span.touches(life.verifies.possibly) for life in asked):
            yield "there was no live key"

    def _judge_signed(self, event: Signed) -> Iterator[str]:
        life = self._lives.get(event.credential, {}).get(event.version)
        if life is None:
            yield "there never was such a key"
            return
        if life.key.mac(event.message) != event.mac:
            yield "the MAC is wrong"
        if not event.span.touches(life.current.possibly):
            yield "a key signed that was not current"
        first = self._asked(event.name, slot_of(event.credential), count=1)
        if life not in first and any(event.span.within(other.current.surely) for other in first):
            yield "the secondary key signed while there was a primary"

    def _judge_refused(self, event: Refused) -> Iterator[str]:
        may_be_refused = _REASONS.get(event.reason)
        if may_be_refused is None or event.method.startswith("Verify"):
            yield "nothing here is a reason to refuse"
        elif not may_be_refused(event.span, self._asked(event.name, HMAC_PAIR[0])):
            yield f"{event.reason} was not so"

    def _asked(self, name: str, slot: str, count: int = 2) -> list[Life]:
        """All lives in the first `count` of the slots that `name` stands for."""
        credentials = [f"{merchant_of(name)}/credentials/{asked}" for asked in asked_slots(name, slot)[:count]]
        return [life for credential in credentials for life in self._lives.get(credential, {}).values()]


def _may_be_empty(span: Span, asked: list[Life]) -> bool:
    return not any(span.within(life.current.surely) for life in asked)


def _may_be_occupied(span: Span, asked: list[Life]) -> bool:
    return any(span.touches(life.current.possibly) for life in asked)


def _may_have_many_retiring(span: Span, asked: list[Life]) -> bool:
    return sum(span.touches(life.verifies.possibly) for life in asked) > MAX_RETIRING


_REASONS: dict[str, Callable[[Span, list[Life]], bool]] = {
    "SLOT_EMPTY": _may_be_empty,
    "SLOT_OCCUPIED": _may_be_occupied,
    "TOO_MANY_RETIRING": _may_have_many_retiring,
}
