"""Verifying many MACs at once: in a few visits to the token, each with a verdict or an error of its own."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from typing import TypeAlias

from keysvc.hsm.token import Token
from keysvc.model.errors import HsmBusy, HsmUnavailable, KeysvcError
from keysvc.model.slots import Kind
from keysvc.service.calls import Caller
from keysvc.service.live_keys import Named, wrapped
from keysvc.service.trials import Trial, Trials, Verdict
from keysvc.service.views import LiveKey


@dataclass(frozen=True, slots=True)
class Presented:
    """What a batch presents, by its items' numbers."""

    messages: Sequence[bytes]
    macs: Sequence[bytes]
    names: dict[Named, list[int]]
    """The items that are to be verified, by what they ask for."""


Answer: TypeAlias = Verdict | KeysvcError
Answers: TypeAlias = dict[int, Answer]


@dataclass(slots=True)
class _Group:
    """All of a batch that ask for one name, as far as none of its keys has matched yet."""

    trial: Trial
    left: list[int]


_Asked: TypeAlias = list[tuple[LiveKey, list[bytes]]]


class BatchVerification:
    """Thread-safe. Callers refresh the cache first."""

    def __init__(self, trials: Trials, token: Token) -> None:
        self._trials = trials
        self._token = token

    def verify(self, caller: Caller, presented: Presented) -> Answers:
        """What Verification.verify_hmac would answer or raise for each that is named."""
        answers: Answers = {}
        begun = self._begun(caller, presented, answers)
        groups = [group for group in begun if self._goes_on(group, 0, answers)]
        turn = 0
        while groups:
            # First the first key of each, then the second of those left.
            asked = [
                (group.trial.keys[turn], [presented.messages[number] for number in group.left]) for group in groups
            ]
            for group, made in zip(groups, self._macs(caller, asked), strict=True):
                self._settle(group, group.trial.keys[turn], made, presented, answers)
            turn += 1
            groups = [group for group in groups if self._goes_on(group, turn, answers)]
        return answers

    def _begun(self, caller: Caller, presented: Presented, answers: Answers) -> Iterator[_Group]:
        """Answers those that need no key tried."""
        for name, numbers in presented.names.items():
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
        self, group: _Group, key: LiveKey, made: list[bytes] | KeysvcError, presented: Presented, answers: Answers
    ) -> None:
        """Answers those that the key matched, and those that it could not be tried on."""
        if isinstance(made, KeysvcError):
            answers.update(dict.fromkeys(group.left, made))
            group.left = []
            return
        right = list(map(hmac.compare_digest, made, [presented.macs[number] for number in group.left]))
        hits = list(compress(group.left, right))
        if hits:
            answers.update(dict.fromkeys(hits, self._trials.matched(group.trial, key, len(hits))))
        group.left = [number for number, found in zip(group.left, right, strict=True) if not found]

    def _goes_on(self, group: _Group, turn: int, answers: Answers) -> bool:
        """Whether there is a key left to try. Answers the rest where there is none."""
        if group.left and turn < len(group.trial.keys):
            return True
        for number in group.left:
            try:
                answers[number] = self._trials.unmatched(group.trial)
            except KeysvcError as error:
                answers[number] = error
        return False

    def _macs(self, caller: Caller, asked: _Asked) -> list[list[bytes] | KeysvcError]:
        """Of each key. Halves them where one fails and asks again: a key that the token fails harms no other."""
        try:
            caller.check_deadline()
            macs = iter(self._token.hmacs((wrapped(key), messages) for key, messages in asked))
            return [list(islice(macs, len(messages))) for _, messages in asked]
        except KeysvcError as error:
            if len(asked) <= 1 or not isinstance(error, HsmUnavailable) or isinstance(error, HsmBusy):
                return [error] * len(asked)
        middle = len(asked) // 2
        return self._macs(caller, asked[:middle]) + self._macs(caller, asked[middle:])
