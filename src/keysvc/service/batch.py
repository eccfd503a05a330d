"""Verifying many MACs at once: in a few visits to the token, each with a verdict or an error of its own."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from keysvc.hsm.token import Token
from keysvc.model.errors import HsmBusy, HsmUnavailable, KeysvcError
from keysvc.model.slots import Kind
from keysvc.service.calls import Caller
from keysvc.service.live_keys import Named, wrapped
from keysvc.service.trials import Trial, Trials, Verdict
from keysvc.service.views import LiveKey


class Presented(NamedTuple):
    """A MAC to verify."""

    name: Named
    message: bytes
    mac: bytes


Answer: TypeAlias = Verdict | KeysvcError


@dataclass(slots=True)
class _Group:
    """All of a batch that ask for one name, by their numbers in it, as far as none of its keys has matched yet."""

    trial: Trial
    left: list[int]


class BatchVerification:
    """Thread-safe. Callers refresh the cache first."""

    def __init__(self, trials: Trials, token: Token) -> None:
        self._trials = trials
        self._token = token

    def verify(self, caller: Caller, presented: Sequence[Presented]) -> list[Answer]:
        """What Verification.verify_hmac would answer or raise for each, in their order."""
        answers: dict[int, Answer] = {}
        groups = [group for group in self._begun(caller, presented, answers) if self._goes_on(group, 0, answers)]
        turn = 0
        while groups:
            # First the first key of each, then the second of those left.
            asked = [(group.trial.keys[turn], presented[number].message) for group in groups for number in group.left]
            macs = iter(self._macs(caller, asked))
            for group in groups:
                self._settle(group, group.trial.keys[turn], macs, presented, answers)
            turn += 1
            groups = [group for group in groups if self._goes_on(group, turn, answers)]
        return [answers[number] for number in range(len(presented))]

    def _begun(self, caller: Caller, presented: Sequence[Presented], answers: dict[int, Answer]) -> Iterator[_Group]:
        """Answers those that need no key tried."""
        by_name: dict[Named, list[int]] = {}
        for number, each in enumerate(presented):
            by_name.setdefault(each.name, []).append(number)
        for name, numbers in by_name.items():
            try:
                caller.check_deadline()
                begun: Trial | Answer = self._trials.begin(caller, name, Kind.HMAC_KEY)
            except KeysvcError as error:
                begun = error
            if isinstance(begun, Trial):
                yield _Group(begun, numbers)
            else:
                answers.update(dict.fromkeys(numbers, begun))

    def _settle(
        self,
        group: _Group,
        key: LiveKey,
        macs: Iterator[bytes | KeysvcError],
        presented: Sequence[Presented],
        answers: dict[int, Answer],
    ) -> None:
        """Answers those that the key matched, and those that it could not be tried on."""
        hits, misses = [], []
        for number, mac in zip(group.left, macs, strict=False):
            if isinstance(mac, KeysvcError):
                answers[number] = mac
            elif hmac.compare_digest(mac, presented[number].mac):
                hits.append(number)
            else:
                misses.append(number)
        if hits:
            answers.update(dict.fromkeys(hits, self._trials.matched(group.trial, key, len(hits))))
        group.left = misses

    def _goes_on(self, group: _Group, turn: int, answers: dict[int, Answer]) -> bool:
        """Whether there is a key left to try. Answers the rest where there is none."""
        if group.left and turn < len(group.trial.keys):
            return True
        for number in group.left:
            try:
                answers[number] = self._trials.unmatched(group.trial)
            except KeysvcError as error:
                answers[number] = error
        return False

    def _macs(self, caller: Caller, asked: list[tuple[LiveKey, bytes]]) -> list[bytes | KeysvcError]:
        """Halves the keys where one fails and asks again, so that a key that the token fails harms no other."""
        try:
            caller.check_deadline()
            return list(self._token.hmacs([(wrapped(key), message) for key, message in asked]))
        except KeysvcError as error:
            # In the order of the names, so the items of one key stand together.
            keys = list(dict.fromkeys(id(key) for key, _ in asked))
            if len(keys) <= 1 or not isinstance(error, HsmUnavailable) or isinstance(error, HsmBusy):
                return [error] * len(asked)
        half = set(keys[: len(keys) // 2])
        middle = sum(id(key) in half for key, _ in asked)
        return self._macs(caller, asked[:middle]) + self._macs(caller, asked[middle:])
