"""One client that changes its own merchant's slots until the server dies, and knows what it was answered."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from support.server import Client, Refusal

from endurance.history import CREATE, RENEW, REVOKE
from endurance.keys import API_PASSWORD, HMAC_PAIR, Key, present, view
from endurance.slots import MAX_RETIRING, Slot, right_answers, shown
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1.credential_pb2 import Credential

IMPORT = "ImportCredential"
OVERLAP = Duration(seconds=3600)
SLOTS = (*HMAC_PAIR, "primary-rest-api-key", API_PASSWORD)
ENDED_KEYS = 5
"""How many of a slot's ended keys are still presented after later kills."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that was begun."""

    method: str
    request: Any

    @property
    def name(self) -> str:
        return str(self.request.name)

    @property
    def overlap(self) -> bool:
        return self.method == RENEW and self.request.HasField("previous_ttl")

    @property
    def imported(self) -> str:
        return self.request.secret if self.method == IMPORT else ""


class Changer:
    """Its calls follow each other, so at most one is in flight when the server dies."""

    def __init__(self, merchant: str, rng: random.Random) -> None:
        self._rng = rng
        self._calls = 0
        self._merchant_id = merchant.partition("/")[2]
        self._slots = {name: Slot(name) for name in (f"{merchant}/credentials/{slot}" for slot in SLOTS)}
        self._pending: Attempt | None = None

    def run(self, client: Client, killed: threading.Event) -> int:
        """Returns how many calls were answered before the server died. Raises what a living server refuses."""
        answered = 0
        while True:
            attempt = self._pending = self._choose()
            try:
                answer = client.call(attempt.method, attempt.request)
            except grpc.RpcError as error:
                if killed.is_set() and not Refusal(error).reason:
                    return answered
                raise
            self._take(attempt, answer)
            self._pending = None
            answered += 1

    def settle(self, client: Client) -> str:
        """What became of the call in flight: it happened as a whole, or not at all; and it may be tried again."""
        attempt = self._pending
        if attempt is None:
            return "answered"
        slot = self._slots[attempt.name]
        found = shown(view(client, attempt.name))
        if found == slot.shown:
            self._take(attempt, client.call(attempt.method, attempt.request))
            return "not done"
        self._apply(attempt, slot.version + (attempt.method != REVOKE), attempt.imported)
        assert slot.shown == found
        self._expect_already_done(client, attempt, slot.version)
        return "done"

    def compare(self, client: Client) -> None:
        """Every key that lives works, every one that ended does not, and the views say so."""
        for slot in self._slots.values():
            assert slot.shown == shown(view(client, slot.name))
            for key in slot.known:
                assert present(client, slot.name, key) in right_answers([slot], key), key
            del slot.ended[ENDED_KEYS:]

    def _choose(self) -> Attempt:
        slot = self._rng.choice(list(self._slots.values()))
        self._calls += 1
        name, request_id = slot.name, f"{self._merchant_id}-{self._calls}"
        chance = self._rng.random()
        if slot.current is None and chance < 0.5:
            return Attempt(CREATE, pb.CreateCredentialRequest(name=name, request_id=request_id))
        if slot.current is None:
            return Attempt(
                IMPORT,
                pb.ImportCredentialRequest(
                    name=name,
                    request_id=request_id,
                    secret=self._rng.randbytes(32).hex(),
                    secret_format=Credential.SecretFormat.HEX,
                ),
            )
        if chance < 0.3:
            return Attempt(REVOKE, pb.RevokeCredentialRequest(name=name, request_id=request_id))
        if chance < 0.6 and len(slot.retiring) < MAX_RETIRING:
            return Attempt(RENEW, pb.RenewCredentialRequest(name=name, request_id=request_id, previous_ttl=OVERLAP))
        return Attempt(RENEW, pb.RenewCredentialRequest(name=name, request_id=request_id))

    def _take(self, attempt: Attempt, answer: Any) -> None:
        text = attempt.imported or (answer.secret.value if attempt.method != REVOKE else "")
        self._apply(attempt, answer.credential.version, text)

    def _apply(self, attempt: Attempt, version: int, text: str) -> None:
        slot = self._slots[attempt.name]
        key = Key(slot.name, version, text)
        if attempt.method == REVOKE:
            slot.end()
        elif attempt.method == RENEW:
            slot.renew(key, overlap=attempt.overlap)
        else:
            slot.fill(key)

    def _expect_already_done(self, client: Client, attempt: Attempt, version: int) -> None:
        try:
            answer = client.call(attempt.method, attempt.request)
        except grpc.RpcError as error:
            refused = Refusal(error)
            assert "REQUEST_ALREADY_DONE" == refused.reason
            assert {"resource": attempt.name, "version": str(version)} == dict(refused.info.metadata)
            return
        raise AssertionError(f"{attempt.method} was done twice: {answer.credential}")
