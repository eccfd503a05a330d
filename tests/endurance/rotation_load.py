"""Clients that sign and verify while others rotate the keys: renew, swap, revoke and create, again and again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from endurance.changes import Changes
from endurance.history import Event
from endurance.keys import API_KEY_PAIR, HMAC_PAIR, Key, merchant_of, slot_of
from endurance.questions import Questions
from endurance.recorder import Board, Calls, Recorder
from keysvc.v1 import credential_service_pb2 as pb

PAIRS = (HMAC_PAIR, API_KEY_PAIR)
BATCH = 8
SHORT, MIDDLE, LONG = 0.1, 1.0, 3600.0
"""Seconds of an overlap. What is renewed with a long one is live at the end, or was ended by a revoke."""
PAUSE = 0.03
"""Seconds between a thread's changes: keys have to live long enough to be used."""


def run(client: Calls, merchants: list[str], clients: int, changers: int, seconds: float, seed: int) -> list[Event]:
    """The history of all threads. Raises what a thread raised."""
    board = Board([f"{merchant}/credentials/{slot}" for merchant in merchants for pair in PAIRS for slot in pair])
    threads: list[Thread] = [
        *(Asker(client, board, merchants, random.Random(f"client {seed}-{n}")) for n in range(clients)),
        *(Rotator(client, board, merchants, random.Random(f"rotator {seed}-{n}")) for n in range(changers)),
    ]
    return together(threads, seconds)


class Thread(Protocol):
    """What calls until a time of `time.monotonic`, and tells its history."""

    def run(self, until: float) -> list[Event]: ...


def together(threads: Sequence[Thread], seconds: float) -> list[Event]:
    """The history of all of them."""
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(len(threads)) as pool:
        histories = list(pool.map(lambda thread: thread.run(until), threads))
    return [event for history in histories for event in history]


class Asker:
    """Presents keys by the merchant's name, by the slot's where they were made, and by that where a swap puts them."""

    def __init__(self, client: Calls, board: Board, merchants: list[str], rng: random.Random) -> None:
        self._board = board
        self._merchants = merchants
        self._rng = rng
        self._recorder = Recorder(client)
        self._questions = ask = Questions(self._recorder, rng)
        self._actions: dict[Callable[[str], None], int] = {
            lambda merchant: self._with_key(merchant, HMAC_PAIR, ask.verify_mac): 25,
            lambda merchant: self._with_key(merchant, API_KEY_PAIR, ask.verify_api_key): 20,
            lambda merchant: self._with_key(merchant, HMAC_PAIR, ask.verify_webhook): 10,
            lambda _: self._verify_batch(): 6,
            lambda merchant: ask.sign(self._any_name(merchant, HMAC_PAIR)): 14,
            lambda merchant: ask.sign_webhook(self._any_name(merchant, HMAC_PAIR)): 10,
            ask.verify_signed: 6,
            ask.verify_signed_webhook: 6,
            self._forge: 3,
        }

    def run(self, until: float) -> list[Event]:
        actions, weights = list(self._actions), list(self._actions.values())
        while time.monotonic() < until:
            self._rng.choices(actions, weights)[0](self._rng.choice(self._merchants))
        return self._recorder.events

    def _with_key(self, merchant: str, pair: tuple[str, str], question: Callable[[str, Key], None]) -> None:
        key = self._any_key(merchant, pair)
        if key is not None:
            question(self._any_name(merchant, pair), key)

    def _verify_batch(self) -> None:
        asked = []
        for _ in range(BATCH):
            merchant = self._rng.choice(self._merchants)
            key = self._any_key(merchant, HMAC_PAIR)
            if key is not None:
                asked.append((self._any_name(merchant, HMAC_PAIR), key))
        if asked:
            self._questions.verify_batch(asked)

    def _forge(self, merchant: str) -> None:
        pair = self._rng.choice(PAIRS)
        self._questions.forge(self._any_name(merchant, pair), pair[0])

    def _any_key(self, merchant: str, pair: tuple[str, str]) -> Key | None:
        return self._board.any_key(f"{merchant}/credentials/{self._rng.choice(pair)}", self._rng)

    def _any_name(self, merchant: str, pair: tuple[str, str]) -> str:
        return self._rng.choice((merchant, merchant, *(f"{merchant}/credentials/{slot}" for slot in pair)))


class Rotator:
    """Fills what it emptied, so that most of the time there is a key to accept."""

    def __init__(self, client: Calls, board: Board, merchants: list[str], rng: random.Random) -> None:
        self._rng = rng
        self._credentials = [f"{name}/credentials/{slot}" for name in merchants for pair in PAIRS for slot in pair]
        self._recorder = Recorder(client)
        self._change = change = Changes(self._recorder, board)
        self._actions: dict[Callable[[str], None], int] = {
            change.renew: 10,
            lambda credential: change.renew_with_overlap(credential, SHORT): 15,
            lambda credential: change.renew_with_overlap(credential, MIDDLE): 15,
            lambda credential: change.renew_with_overlap(credential, LONG): 15,
            self._swap: 25,
            self._revoke_one: 10,
            self._revoke_and_create: 10,
        }

    def run(self, until: float) -> list[Event]:
        actions, weights = list(self._actions), list(self._actions.values())
        for credential in self._credentials:
            self._change.create(credential)
        for action in actions:  # each at least once, however short the run
            self.act(action, self._credentials[0])
        while time.monotonic() < until:
            self.act(self._rng.choices(actions, weights)[0], self._rng.choice(self._credentials))
            time.sleep(PAUSE)
        return self._recorder.events

    def act(self, change: Callable[[str], None], credential: str) -> None:
        change(credential)

    def _swap(self, credential: str) -> None:
        slot = slot_of(credential)
        self._change.swap(merchant_of(credential), next(pair for pair in PAIRS if slot in pair))

    def _revoke_one(self, credential: str) -> None:
        """One that is retiring, if there is one. Another thread may end it first."""
        request = pb.GetCredentialRequest(name=credential)
        _, shown = self._recorder.call("GetCredential", request, name=credential, slot=slot_of(credential))
        if shown is not None and shown.retiring:
            self._change.revoke_one(credential, self._rng.choice(shown.retiring).version)

    def _revoke_and_create(self, credential: str) -> None:
        """Verifiers meet the empty slot for a while."""
        self._change.revoke(credential)
        time.sleep(self._rng.choice((0, PAUSE, 3 * PAUSE)))
        self._change.create(credential)
