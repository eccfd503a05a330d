"""What is wrong with a recorded history: one sentence for each answer that cannot have been right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from endurance import callers
from endurance.history import (
    CREATE,
    FILLS,
    RENEW,
    REVOKE,
    REVOKE_ONE,
    SWAP,
    Changed,
    Event,
    Refused,
    Signed,
    SignedByAll,
    Stayed,
    Verified,
    by_credential,
    disorder,
)
from endurance.keys import HMAC_PAIR, Key, Place, asked_slots, merchant_of
from endurance.lives import Life, Lives
from endurance.slots import MAX_RETIRING
from endurance.spans import Span
from endurance.states import States

NOT_ACTIVE = "MERCHANT_NOT_ACTIVE"
_NEED_ACTIVE = frozenset({CREATE, RENEW, SWAP, "GenerateHmac", "SignWebhook"})


class Judge:
    """Knows every change of the history, so it can judge every other answer."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = list(events)
        changes = by_credential(self._events)
        self._disorder = disorder(changes)
        self._lives = Lives({} if self._disorder else changes)
        self._states = States(self._events)

    def faults(self) -> list[str]:
        """Empty where nothing is wrong."""
        found = [f"{fault}: {event}" for event in self._events for fault in self._judge(event)]
        return self._disorder or [*found, *callers.faults(self._events)]

    def rightful(self) -> int:
        """How many verifications had to be accepted: with a key that was live all the time, where it was asked for."""
        return sum(
            self._lives.surely_lived(event.span, key, _asked(event.name, event.slot))
            and self._surely(event, active=True)
            for event, key in self._presented()
        )

    def late(self) -> int:
        """How many had to be refused: what had signed had ended before they began, or its merchant was not active."""
        return sum(
            event.span.begin > self._lives.whole(key).possibly.end or self._surely(event, active=False)
            for event, key in self._presented()
        )

    def _presented(self) -> Iterator[tuple[Verified, Key]]:
        """What was signed by one key."""
        for event in self._events:
            if isinstance(event, Verified) and len(event.keys) == 1:
                key = self._lives.key(event.keys[0].place)
                if key is not None:
                    yield event, key

    def _judge(self, event: Event) -> Iterator[str]:
        match event:
            case Verified() if event.answer.result == "VALID":
                yield from self._judge_used(event)
                yield from self._judge_valid(event)
            case Verified():
                yield from self._judge_invalid(event)
            case Signed():
                yield from self._judge_used(event)
                yield from self._judge_signer(event.span, event.name, event.signer)
                yield from self._judge_mac(event.signer, event.message, event.mac)
            case SignedByAll():
                yield from self._judge_used(event)
                yield from self._judge_signed_by_all(event)
            case Refused():
                yield from self._judge_refused(event)
            case Changed() if event.method in FILLS and self._not_active(event):
                yield "a key was made while the merchant was not active"
            case Stayed() if not self._states.possibly(event.span, event.merchant, active=event.active):
                yield "a merchant was not moved, and was not there already"
            case _:
                return  # changes were looked at together, and callers are

    def _judge_used(self, event: Verified | Signed | SignedByAll) -> Iterator[str]:
        if self._surely(event, active=False):
            yield "a key was used while the merchant was not active"

    def _judge_valid(self, event: Verified) -> Iterator[str]:
        life = self._lives.at.get((event.answer.credential, event.answer.version))
        if not event.keys:
            yield "a forged MAC or key was accepted"
        elif life is None or life.key not in [self._lives.key(key.place) for key in event.keys]:
            yield "another key is said to have matched"
        elif not event.span.touches(self._lives.whole(life.key).possibly):
            yield "a key that had ended was accepted"
        elif life.place[0] not in _asked(event.name, event.slot):
            yield "a key matched in a slot that was not asked"
        elif not event.span.touches(life.verifies.possibly):
            yield "a key matched where it did not stand"
        else:
            yield from _judge_retiring(event, life)

    def _judge_invalid(self, event: Verified) -> Iterator[str]:
        asked = _asked(event.name, event.slot)
        if event.answer.result == NOT_ACTIVE:
            if self._surely(event, active=True):
                yield "the merchant was active"
            return
        if self._surely(event, active=False):
            yield "the merchant was not active"
        if event.answer.result not in ("INVALID", "NO_LIVE_KEY"):
            yield "no such answer is right here"
        keys = [key for key in (self._lives.key(key.place) for key in event.keys) if key]
        if any(self._lives.surely_lived(event.span, key, asked) for key in keys):
            yield "a live key was refused"
        if event.answer.result == "NO_LIVE_KEY" and self._surely_has_key(event.span, asked):
            yield "there was a live key"
        if event.answer.result == "INVALID" and not self._lives.possibly_live(event.span, asked):
            yield "there was no live key"

    def _judge_signer(self, span: Span, name: str, signer: Place) -> Iterator[str]:
        """The key that signs first, or alone."""
        asked, life = _asked(name, HMAC_PAIR[0]), self._lives.at.get(signer)
        if life is None:
            yield "there never was such a key"
        elif signer[0] not in asked:
            yield "a key signed that was not asked"
        elif not span.touches(life.current.possibly):
            yield "a key signed that was not current"
        elif signer[0] != asked[0] and self._lives.surely_held(span, asked[0]):
            yield "the secondary key signed while there was a primary"

    def _judge_mac(self, signer: Place, message: bytes, mac: bytes) -> Iterator[str]:
        key = self._lives.key(signer)
        if key is not None and key.text and key.mac(message) != mac:
            yield "the MAC is wrong"

    def _judge_signed_by_all(self, event: SignedByAll) -> Iterator[str]:
        if not event.signers or len(event.signers) != len(event.macs):
            yield "there are not as many MACs as signers"
            return
        yield from self._judge_signer(event.span, event.name, event.signers[0])
        asked = _asked(event.name, HMAC_PAIR[0])
        for signer, mac in zip(event.signers, event.macs, strict=True):
            yield from self._judge_mac(signer, event.message, mac)
            life = self._lives.at.get(signer)
            if life is None or signer[0] not in asked or not event.span.touches(life.verifies.possibly):
                yield "a key signed that was not live there"
        signed = [self._lives.key(signer) for signer in event.signers]
        if any(key not in signed for key in self._lives.surely_live(event.span, asked)):
            yield "a live key did not sign"

    def _judge_refused(self, event: Refused) -> Iterator[str]:
        if event.reason == NOT_ACTIVE and event.method in _NEED_ACTIVE:
            if self._surely(event, active=True):
                yield f"{event.reason} was not so"
            return
        if event.reason == "OVERLOADED" and event.method in _CHANGES:
            return  # too many waited for their turn: it was not done, and says so
        may_be = _EXCUSES.get((event.method, event.reason))
        if may_be is None:
            yield "nothing here is a reason to refuse"
        elif not may_be(event, _asked(event.name, event.slot), self._lives):
            yield f"{event.reason} was not so"

    def _not_active(self, event: Changed) -> bool:
        return self._states.surely(event.span, merchant_of(event.key.credential), active=False)

    def _surely(self, event: Verified | Signed | SignedByAll | Refused, *, active: bool) -> bool:
        """Whether its merchant was so all the time."""
        return self._states.surely(event.span, merchant_of(event.name), active=active)

    def _surely_has_key(self, span: Span, asked: list[str]) -> bool:
        held = any(self._lives.surely_held(span, credential) for credential in asked)
        return held or bool(self._lives.surely_live(span, asked))


def _judge_retiring(event: Verified, life: Life) -> Iterator[str]:
    if event.answer.retiring and event.span.within(life.current.surely):
        yield "the slot's current key is said to be retiring"
    if not event.answer.retiring and event.span.begin > life.current.possibly.end:
        yield "a retiring key is said to be current"


def _asked(name: str, slot: str) -> list[str]:
    """The names of the slots that `name` stands for, the first first."""
    return [f"{merchant_of(name)}/credentials/{asked}" for asked in asked_slots(name, slot)]


def _may_be_empty(refused: Refused, asked: list[str], lives: Lives) -> bool:
    return not any(lives.surely_held(refused.span, credential) for credential in asked)


def _one_may_be_empty(refused: Refused, asked: list[str], lives: Lives) -> bool:
    return not all(lives.surely_held(refused.span, credential) for credential in asked)


def _may_have_ended(refused: Refused, asked: list[str], lives: Lives) -> bool:
    life = lives.at.get((asked[0], refused.version))
    return life is None or not refused.span.within(life.verifies.surely)


def _may_be_occupied(refused: Refused, asked: list[str], lives: Lives) -> bool:
    return lives.possibly_held(refused.span, asked[0])


def _may_have_many_retiring(refused: Refused, asked: list[str], lives: Lives) -> bool:
    return lives.possibly_live(refused.span, asked) > MAX_RETIRING


_CHANGES = frozenset({CREATE, RENEW, REVOKE, REVOKE_ONE, SWAP})
_EXCUSES: dict[tuple[str, str], Callable[[Refused, list[str], Lives], bool]] = {
    ("GenerateHmac", "SLOT_EMPTY"): _may_be_empty,
    ("SignWebhook", "SLOT_EMPTY"): _may_be_empty,
    (CREATE, "SLOT_OCCUPIED"): _may_be_occupied,
    (RENEW, "SLOT_EMPTY"): _may_be_empty,
    (RENEW, "TOO_MANY_RETIRING"): _may_have_many_retiring,
    (REVOKE, "SLOT_EMPTY"): _may_be_empty,
    (REVOKE_ONE, "SLOT_EMPTY"): _may_have_ended,
    (SWAP, "SLOT_EMPTY"): _one_may_be_empty,
}
"""By method and reason: whether it may have been so at a moment of the call, which asked for these slots."""
