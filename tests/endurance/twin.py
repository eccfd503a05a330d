"""Merchants on a server and their plain model, changed together and compared."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from support.server import Client, DevServer, Refusal

from endurance.keys import Answer, Key, asked_slots, encrypted, present, slot_of, view
from endurance.slots import MAX_RETIRING, Slot, right_answers, shown
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1 import merchant_service_pb2 as mpb
from keysvc.v1.credential_pb2 import Credential

ENDED_KEYS = 3
"""How many of a slot's ended keys are presented in each comparison."""

_MOVES = {
    "ActivateMerchant": ("ACTIVE", {"WAITING_ACTIVATION", "SUSPENDED", "ACTIVE"}),
    "SuspendMerchant": ("SUSPENDED", {"ACTIVE", "SUSPENDED"}),
    "TerminateMerchant": ("TERMINATED", {"WAITING_ACTIVATION", "ACTIVE", "SUSPENDED", "TERMINATED"}),
}
"""Where each leads, and from where."""


class World:
    """One server, which outlives its restarts, and ids that nothing else on it uses."""

    def __init__(self, server: DevServer) -> None:
        self._server = server
        self._numbers = itertools.count()
        self.client: Client = server.client()
        self.met: Counter[str] = Counter()
        """What was answered, refused and verified, and how often."""

    def new_id(self) -> str:
        return f"x-{next(self._numbers)}"

    def restart(self) -> None:
        self.client.close()
        assert 0 == self._server.stop()
        self.client = self._server.start().client()
        self.met["restart"] += 1


@dataclass(frozen=True, slots=True)
class Done:
    """A change that was answered."""

    method: str
    request: Any
    version: int


@dataclass
class Merchant:
    """A merchant's model."""

    name: str
    slots: dict[str, Slot]
    state: str = "WAITING_ACTIVATION"
    done: list[Done] = field(default_factory=list)

    @property
    def not_active(self) -> set[str]:
        return set() if self.state == "ACTIVE" else {"MERCHANT_NOT_ACTIVE"}


class Twin:
    """One merchant on the server and in the model. Every method asserts that the two agree."""

    def __init__(self, world: World, slots: list[str]) -> None:
        self._world = world
        merchant_id = world.new_id()
        name = f"merchants/{merchant_id}"
        self.model = Merchant(name, {slot: Slot(f"{name}/credentials/{slot}") for slot in slots})
        world.client.call("CreateMerchant", mpb.CreateMerchantRequest(merchant_id=merchant_id))

    def move(self, method: str) -> None:
        """ActivateMerchant, SuspendMerchant or TerminateMerchant."""
        state, may_come_from = _MOVES[method]
        reasons = set() if self.model.state in may_come_from else {"MERCHANT_NOT_ACTIVE"}
        answer = self._call(method, getattr(mpb, f"{method}Request")(name=self.model.name), reasons)
        if answer is not None:
            self.model.state = state
        if state == "TERMINATED":
            for slot in self.model.slots.values():
                slot.end()

    def create(self, slot: str) -> None:
        model = self.model.slots[slot]
        request = pb.CreateCredentialRequest(name=model.name, request_id=self._world.new_id())
        reasons = self.model.not_active | ({"SLOT_OCCUPIED"} if model.current else set())
        answer = self._call("CreateCredential", request, reasons)
        if answer is not None:
            model.fill(self._told(model, answer.credential, answer.secret.value))

    def import_secret(self, slot: str, text: str) -> None:
        model = self.model.slots[slot]
        request = pb.ImportCredentialRequest(
            name=model.name, secret=text, secret_format=Credential.SecretFormat.HEX, request_id=self._world.new_id()
        )
        reasons = self.model.not_active | ({"SLOT_OCCUPIED"} if model.current else set())
        answer = self._call("ImportCredential", request, reasons)
        if answer is not None:
            model.fill(self._told(model, answer.credential, text))

    def renew(self, slot: str, ttl: Duration | None = None, etag: str = "") -> None:
        model = self.model.slots[slot]
        reasons = self.model.not_active | _not_held(model) | self._etag_differs(slot, etag)
        if ttl is not None and len(model.retiring) == MAX_RETIRING:
            reasons.add("TOO_MANY_RETIRING")
        request = pb.RenewCredentialRequest(
            name=model.name, etag=etag, previous_ttl=ttl, request_id=self._world.new_id()
        )
        answer = self._call("RenewCredential", request, reasons)
        if answer is not None:
            model.renew(self._told(model, answer.credential, answer.secret.value), overlap=ttl is not None)

    def revoke(self, slot: str, etag: str = "") -> None:
        model = self.model.slots[slot]
        reasons = _not_held(model) | self._etag_differs(slot, etag)
        request = pb.RevokeCredentialRequest(name=model.name, etag=etag, request_id=self._world.new_id())
        if self._call("RevokeCredential", request, reasons) is not None:
            model.end()

    def repeat(self, done: Done) -> None:
        """A change that was answered, word for word: it is not done again, and what it did is told."""
        self._refused_as_done(done.method, done.request, done)

    def reuse_request_id(self, done: Done, slot: str) -> None:
        request = pb.CreateCredentialRequest(name=self.model.slots[slot].name, request_id=done.request.request_id)
        self._refused_as_done("CreateCredential", request, done)

    def etag(self, slot: str) -> str:
        return str(view(self._world.client, self.model.slots[slot].name).etag)

    def compare(self) -> None:
        """Views every slot, and presents every live key and some that ended, at the slot and at the merchant."""
        listed = self._world.client.call("ListCredentials", pb.ListCredentialsRequest(parent=self.model.name))
        views = {credential.name: credential for credential in listed.credentials}
        for slot in self.model.slots.values():
            assert slot.shown == shown(view(self._world.client, slot.name))
            assert slot.shown == shown(views[slot.name])
            for key in [*slot.live, *slot.ended[:ENDED_KEYS]]:
                self._compare_answers(key)

    def _compare_answers(self, key: Key) -> None:
        for name in [key.credential] if key.ciphertext else [key.credential, self.model.name]:
            answer = present(self._world.client, name, key)
            assert answer in self._right_answers(name, key), f"{key} at {name}"
            self._world.met["retiring" if answer.retiring else answer.result] += 1

    def _right_answers(self, name: str, key: Key) -> list[Answer]:
        if self.model.state != "ACTIVE":
            return [Answer("MERCHANT_NOT_ACTIVE")]
        asked = asked_slots(name, key.slot)
        return right_answers([slot for slot in self.model.slots.values() if slot_of(slot.name) in asked], key)

    def _call(self, method: str, request: Any, reasons: set[str]) -> Any:
        """The answer, where there is no reason to refuse; else None, and the refusal names one of the reasons."""
        try:
            answer = self._world.client.call(method, request)
        except grpc.RpcError as error:
            reason = Refusal(error).reason
            assert reason in reasons, f"{method} {request}"
            self._world.met[reason] += 1
            return None
        assert set() == reasons, f"{method} {request}"
        self._world.met[method] += 1
        if method.endswith("Credential"):
            self.model.done.append(Done(method, request, answer.credential.version))
        return answer

    def _refused_as_done(self, method: str, request: Any, done: Done) -> None:
        try:
            answer = self._world.client.call(method, request)
        except grpc.RpcError as error:
            refused = Refusal(error)
            assert "REQUEST_ALREADY_DONE" == refused.reason
            self._world.met[refused.reason] += 1
            assert {"resource": done.request.name, "version": str(done.version)} == dict(refused.info.metadata)
            return
        raise AssertionError(f"{method} was done twice: {answer}")

    def _told(self, model: Slot, credential: Credential, text: str) -> Key:
        assert (model.name, model.version + 1) == (credential.name, credential.version)
        return encrypted(self._world.client, Key(model.name, credential.version, text))

    def _etag_differs(self, slot: str, etag: str) -> set[str]:
        return {"ETAG_MISMATCH"} if etag not in ("", self.etag(slot)) else set()


def _not_held(model: Slot) -> set[str]:
    return set() if model.current else {"SLOT_EMPTY"}
