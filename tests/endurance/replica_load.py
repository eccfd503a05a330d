"""Clients of all replicas that sign and verify while others change keys, merchants and callers, on any replica."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from support.asking import request

from endurance.guests import GuestBook, Host, enter
from endurance.history import ACTIVATE, SUSPEND, Event, Moved
from endurance.keys import API_KEY_PAIR, HMAC_PAIR, merchant_of
from endurance.questions import Questions
from endurance.recorder import Board, Recorder
from endurance.rotation_load import PAIRS, Asker, Rotator, Thread
from endurance.spread import Hasty, ReplicaClient, Spread

ASKERS = 4
ROTATORS = 2
RENEWALS = 40
"""The weight of renewing without an overlap, which ends a key at once."""
NEWEST = 2
"""Of a slot's keys: the one before the current one, which may have ended just now, and the current one."""
_ACTIVE, _SUSPENDED = 0.5, 0.15
"""Seconds that a merchant stays so."""


def threads(clients: Sequence[ReplicaClient], merchants: list[str], seed: int) -> list[Thread]:
    """All of a run's. The last of the merchants is the one that is suspended."""
    board = Board([f"{merchant}/credentials/{slot}" for merchant in merchants for pair in PAIRS for slot in pair])
    book = GuestBook()

    def rng(name: str) -> random.Random:
        return random.Random(f"{name} {seed}")

    return [
        *(GuestAsker(clients, board, book, merchants, rng(f"asker {n}")) for n in range(ASKERS)),
        *(WatchfulRotator(clients, board, merchants, rng(f"rotator {n}")) for n in range(ROTATORS)),
        Rotator(Hasty(clients, rng("haste")), board, merchants[:1], rng("hasty rotator")),
        Mover(clients, board, merchants[-1], rng("mover")),
        Host(clients, book, rng("host")),
    ]


class GuestAsker:
    """Asks with keys, and now and then calls with somebody's password."""

    def __init__(
        self, clients: Sequence[ReplicaClient], board: Board, book: GuestBook, merchants: list[str], rng: random.Random
    ) -> None:
        self._rng = rng
        self._book = book
        self._spread = Spread(clients, rng)
        self._asker = Asker(self._spread, board, merchants, rng)

    def run(self, until: float) -> list[Event]:
        events: list[Event] = []
        while time.monotonic() < until:
            password = self._book.any(self._rng)
            if password is not None:
                events += enter(self._spread, password)
            self._asker.run(min(until, time.monotonic() + _SUSPENDED))
        return events + self._asker.run(until)


class _OnEach:
    """Presents a slot's newest keys on each replica."""

    def __init__(self, clients: Sequence[ReplicaClient], board: Board, rng: random.Random) -> None:
        self._board = board
        self._rng = rng
        self._questions = [Questions(Recorder(client), rng) for client in clients]

    @property
    def events(self) -> list[Event]:
        return [event for questions in self._questions for event in questions.recorder.events]

    def present(self, credential: str) -> None:
        merchant = merchant_of(credential)
        for key in self._board.newest(credential, NEWEST):
            for ask in self._rng.sample(self._questions, len(self._questions)):
                question = ask.verify_mac if key.slot in HMAC_PAIR else ask.verify_api_key
                question(merchant, key)


class WatchfulRotator(Rotator):
    """Asks every replica at once after each change."""

    def __init__(
        self, clients: Sequence[ReplicaClient], board: Board, merchants: list[str], rng: random.Random
    ) -> None:
        super().__init__(Spread(clients, rng), board, merchants, rng)
        self._on_each = _OnEach(clients, board, rng)
        self._actions[self._change.renew] = RENEWALS

    def run(self, until: float) -> list[Event]:
        return super().run(until) + self._on_each.events

    def act(self, change: Callable[[str], None], credential: str) -> None:
        change(credential)
        self._on_each.present(credential)


class Mover:
    """Suspends a merchant and makes it active, again and again: the only one who does."""

    def __init__(self, clients: Sequence[ReplicaClient], board: Board, merchant: str, rng: random.Random) -> None:
        self._merchant = merchant
        self._rng = rng
        self._recorder = Recorder(Spread(clients, rng))
        self._on_each = _OnEach(clients, board, rng)

    def run(self, until: float) -> list[Event]:
        while time.monotonic() < until:
            time.sleep(_ACTIVE)
            self._until_done(SUSPEND, until)
            time.sleep(_SUSPENDED)
            self._until_done(ACTIVATE, until)
        return self._recorder.events + self._on_each.events

    def _until_done(self, method: str, until: float) -> None:
        while not self._move(method) and time.monotonic() < until:
            pass
        slot = self._rng.choice((*HMAC_PAIR, *API_KEY_PAIR))
        self._on_each.present(f"{self._merchant}/credentials/{slot}")

    def _move(self, method: str) -> bool:
        asked: Any = request(method, name=self._merchant)
        span, answer = self._recorder.call(method, asked, name=self._merchant, slot="")
        if answer is not None:
            self._recorder.events.append(Moved(span, self._merchant, method == ACTIVATE))
        return answer is not None
