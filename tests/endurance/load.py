"""Threads that generate, verify, create, renew and revoke at once, on the same slots, and record every answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from support.server import Client

from endurance.changes import Changes
from endurance.history import Event
from endurance.keys import API_KEY_PAIR, HMAC_PAIR, merchant_of, slot_of
from endurance.questions import Questions
from endurance.recorder import Board, Recorder

OVERLAP_SECONDS = 0.3


def run(client: Client, merchants: list[str], threads: int, seconds: float, seed: int) -> list[Event]:
    """The history of `threads` threads. Raises what a thread raised."""
    credentials = [f"{merchant}/credentials/{slot}" for merchant in merchants for slot in (*HMAC_PAIR, *API_KEY_PAIR)]
    board = Board(credentials)
    workers = [_Worker(client, board, credentials, random.Random(f"{seed}-{n}")) for n in range(threads)]
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(threads) as pool:
        histories = list(pool.map(lambda worker: worker.run(until), workers))
    return [event for history in histories for event in history]


class _Worker:
    """One thread's calls."""

    def __init__(self, client: Client, board: Board, credentials: list[str], rng: random.Random) -> None:
        self._board = board
        self._credentials = credentials
        self._rng = rng
        self._recorder = Recorder(client)
        self._questions = Questions(self._recorder, rng)
        self._changes = Changes(self._recorder, board)
        self._actions: dict[Callable[[str], None], int] = {
            self._verify: 45, self._sign: 25, self._forge: 5,
            self._changes.create: 10, self._changes.renew: 8, self._renew_with_overlap: 4, self._changes.revoke: 3,
        }  # fmt: skip

    def run(self, until: float) -> list[Event]:
        actions, weights = list(self._actions), list(self._actions.values())
        while time.monotonic() < until:
            action = self._rng.choices(actions, weights)[0]
            action(self._rng.choice(self._credentials))
        return self._recorder.events

    def _verify(self, credential: str) -> None:
        key = self._board.any_key(credential, self._rng)
        if key is None:
            return
        if key.slot in HMAC_PAIR:
            self._questions.verify_mac(self._asked_as(credential), key)
        else:
            self._questions.verify_api_key(self._asked_as(credential), key)

    def _forge(self, credential: str) -> None:
        self._questions.forge(self._asked_as(credential), slot_of(credential))

    def _sign(self, credential: str) -> None:
        if slot_of(credential) in HMAC_PAIR:
            self._questions.sign(self._asked_as(credential))

    def _renew_with_overlap(self, credential: str) -> None:
        self._changes.renew_with_overlap(credential, OVERLAP_SECONDS)

    def _asked_as(self, credential: str) -> str:
        return self._rng.choice((credential, merchant_of(credential)))
