"""Threads that generate, verify, create, renew and revoke at once, on the same slots, and record every answer."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from support.server import Client, Refusal

from endurance.history import CREATE, RENEW, REVOKE, Changed, Event, Refused, Signed, Span, Verified
from endurance.keys import API_KEY_PAIR, HMAC_PAIR, Key, merchant_of, present, slot_of, told
from keysvc.v1 import credential_service_pb2 as pb

OVERLAP_SECONDS = 0.3
REMEMBERED = 12
"""The newest keys of a slot that threads present: the current one, retiring ones, and some that ended."""


class Board:
    """The keys that answers have told, for every thread to present. Thread-safe."""

    def __init__(self, credentials: list[str]) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, deque[Key]] = {name: deque(maxlen=REMEMBERED) for name in credentials}

    def add(self, key: Key) -> None:
        with self._lock:
            self._keys[key.credential].append(key)

    def any_key(self, credential: str, rng: random.Random) -> Key | None:
        """One told earlier, the newer the likelier."""
        with self._lock:
            known = list(self._keys[credential])
        return known[-1 - min(int(rng.expovariate(0.6)), len(known) - 1)] if known else None


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
        self._client = client
        self._board = board
        self._credentials = credentials
        self._rng = rng
        self._events: list[Event] = []
        self._actions: dict[Callable[[str], None], int] = {
            self._verify: 45, self._sign: 25, self._forge: 5,
            self._create: 10, self._renew: 8, self._renew_with_overlap: 4, self._revoke: 3,
        }  # fmt: skip

    def run(self, until: float) -> list[Event]:
        actions, weights = list(self._actions), list(self._actions.values())
        while time.monotonic() < until:
            action = self._rng.choices(actions, weights)[0]
            action(self._rng.choice(self._credentials))
        return self._events

    def _verify(self, credential: str) -> None:
        key = self._board.any_key(credential, self._rng)
        if key is not None:
            name = self._asked_as(credential)
            message = self._rng.randbytes(self._rng.choice((0, 17, 460)))
            span, answer = self._answered("Verify", name, lambda: present(self._client, name, key, message))
            if answer is not None:
                self._events.append(Verified(span, name, key.slot, key, answer))

    def _forge(self, credential: str) -> None:
        name, slot = self._asked_as(credential), slot_of(credential)
        request: Any
        if slot in HMAC_PAIR:
            method, request = "VerifyHmac", pb.VerifyHmacRequest(name=name, mac=self._rng.randbytes(32))
        else:
            method, request = "VerifyApiKey", pb.VerifyApiKeyRequest(name=name, api_key=self._rng.randbytes(24).hex())
        span, answer = self._called(method, request)
        if answer is not None:
            self._events.append(Verified(span, name, slot, None, told(answer)))

    def _sign(self, credential: str) -> None:
        if slot_of(credential) not in HMAC_PAIR:
            return
        request = pb.GenerateHmacRequest(name=self._asked_as(credential), message=self._rng.randbytes(64))
        span, answer = self._called("GenerateHmac", request)
        if answer is not None:
            self._events.append(
                Signed(span, request.name, request.message, answer.mac, answer.credential, answer.version)
            )

    def _create(self, credential: str) -> None:
        self._fill(CREATE, pb.CreateCredentialRequest(name=credential))

    def _renew(self, credential: str) -> None:
        self._fill(RENEW, pb.RenewCredentialRequest(name=credential))

    def _renew_with_overlap(self, credential: str) -> None:
        overlap = int(OVERLAP_SECONDS * 1e9)
        request = pb.RenewCredentialRequest(name=credential, previous_ttl=Duration(nanos=overlap))
        self._fill(RENEW, request, overlap)

    def _fill(self, method: str, request: Any, overlap: int = 0) -> None:
        span, answer = self._called(method, request)
        if answer is not None:
            key = Key(request.name, answer.credential.version, answer.secret.value)
            self._board.add(key)
            self._events.append(Changed(span, method, key, overlap))

    def _revoke(self, credential: str) -> None:
        span, answer = self._called(REVOKE, pb.RevokeCredentialRequest(name=credential))
        if answer is not None:
            self._events.append(Changed(span, REVOKE, Key(credential, answer.credential.version)))

    def _called(self, method: str, request: Any) -> tuple[Span, Any]:
        return self._answered(method, request.name, lambda: self._client.call(method, request))

    def _answered(self, method: str, name: str, call: Callable[[], Any]) -> tuple[Span, Any]:
        """None, and a record of the refusal, where the call was refused."""
        begin = time.monotonic_ns()
        try:
            answer = call()
        except grpc.RpcError as error:
            span = Span(begin, time.monotonic_ns())
            refused = Refusal(error)
            self._events.append(Refused(span, name, method, refused.reason or refused.code.name))
            return span, None
        return Span(begin, time.monotonic_ns()), answer

    def _asked_as(self, credential: str) -> str:
        return self._rng.choice((credential, merchant_of(credential)))
