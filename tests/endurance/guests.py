"""Callers that are made, renewed and disabled while others call with what was their password."""

from __future__ import annotations

import base64
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from support.asking import request
from support.server import Refusal

from endurance.callers import Disabled, Entered, PasswordSet
from endurance.history import Event
from endurance.recorder import Recorder
from endurance.settled import UNANSWERED
from endurance.spans import Span
from endurance.spread import Metadata, ReplicaClient, Spread

REMEMBERED = 8
RENEWALS = 1
PAUSE = 0.1
"""Seconds that a password is used before it ends."""


@dataclass(frozen=True, slots=True)
class Password:
    """One that a caller had, by its number."""

    caller: str
    number: int
    text: str

    @property
    def metadata(self) -> Metadata:
        proof = base64.b64encode(f"{self.caller}:{self.text}".encode()).decode()
        return (("authorization", f"Basic {proof}"),)


class GuestBook:
    """The passwords that answers have told, for every thread to call with. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passwords: deque[Password] = deque(maxlen=REMEMBERED)

    def add(self, password: Password) -> None:
        with self._lock:
            self._passwords.append(password)

    def any(self, rng: random.Random) -> Password | None:
        with self._lock:
            known = list(self._passwords)
        return rng.choice(known) if known else None


def enter(client: ReplicaClient | Spread, password: Password) -> list[Event]:
    """Calls with the password what its caller may not call: who is let in is told just that."""
    begin = time.time_ns()
    try:
        client.call("GetImportKey", request("GetImportKey"), password.metadata)
    except grpc.RpcError as error:
        span, refusal = Span(begin, time.time_ns()), Refusal(error)
        if refusal.reason in UNANSWERED or refusal.code.name in UNANSWERED:
            return []
        assert refusal.reason in ("PERMISSION_DENIED", "UNAUTHENTICATED"), refusal.message
        return [Entered(span, password.caller, password.number, refusal.reason == "PERMISSION_DENIED")]
    raise AssertionError("a SERVICE was given the import key")


class Host:
    """One thread that makes callers, renews their passwords and disables them; and calls as them on each replica."""

    def __init__(self, clients: Sequence[ReplicaClient], book: GuestBook, rng: random.Random) -> None:
        self._clients = clients
        self._book = book
        self._recorder = Recorder(Spread(clients, rng))

    def run(self, until: float) -> list[Event]:
        while time.monotonic() < until:
            self._welcome(f"guest-{uuid.uuid4().hex[:12]}", until)
        return self._recorder.events

    def _welcome(self, caller: str, until: float) -> None:
        """From the beginning to the end of one caller, or to an answer that did not come."""
        principal = {"kind": "SERVICE", "merchants": ["merchants/-"]}
        password = self._set(caller, 0, "CreatePrincipal", principal_id=caller, principal=principal)
        for number in range(1, RENEWALS + 1):
            if password is None or time.monotonic() > until:
                return
            before = password
            password = self._set(caller, number, "RenewPrincipalPassword", name=f"principals/{caller}")
            self._enter(before)
        if password is not None:
            span, answer = self._call("DisablePrincipal", name=f"principals/{caller}")
            self._recorder.events.append(Disabled(_certain(span, answer), caller))
            self._enter(password)

    def _set(self, caller: str, number: int, method: str, **fields: Any) -> Password | None:
        span, answer = self._call(method, **fields)
        self._recorder.events.append(PasswordSet(_certain(span, answer), caller, number))
        if answer is None:
            return None
        password = Password(caller, number, answer.password)
        self._book.add(password)
        self._enter(password)
        time.sleep(PAUSE)
        return password

    def _call(self, method: str, **fields: Any) -> tuple[Span, Any]:
        return self._recorder.call(method, request(method, **fields), name="", slot="")

    def _enter(self, password: Password) -> None:
        for client in self._clients:
            self._recorder.events += enter(client, password)


def _certain(span: Span, answer: Any) -> Span:
    """Where nobody was told, it may have been done at any time since."""
    return span if answer is not None else Span(span.begin, float("inf"))
