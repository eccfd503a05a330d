"""What every call passes before it reaches a servicer, and how answers and errors leave.

In this order: deadline, epoch, who calls, what it may call, the request's form, whose resource it is.
Default deny: a method without a row in the table of permissions is called by nobody. Nothing but
keysvc's own errors leaves the process; anything else becomes INTERNAL with an opaque id, and stands in
the log under it. Every call is told to the observer, and every refusal of a change to the audit record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter, time
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from keysvc.model.errors import DeadlineExceeded, InvalidField, KeysvcError, Overloaded
from keysvc.model.names import is_id, is_name, merchant_of
from keysvc.model.permissions import BATCHES, FILTERED, PERMISSIONS, Effect, Grant
from keysvc.rpc import errors, naming
from keysvc.rpc.core import Answer
from keysvc.rpc.observation import CANCELLED, OK, CallLine, Observer, rpc_of
from keysvc.rpc.turn import Turn
from keysvc.service.access import Access
from keysvc.service.authority import Authority
from keysvc.service.cache import Cache
from keysvc.service.calls import Caller
from keysvc.service.known import Known
from keysvc.service.refusals import Refusals, Refused

log = structlog.get_logger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

MIN_SECONDS_LEFT = 0.020
"""A call with less left is not begun: its answer would come too late."""

MOST_QUICK_BYTES = 64 * 1024
"""A longer request is a thread's: the token takes its time for it, and others would wait."""
QUICK = frozenset(
    f"/keysvc.v1.{method}"
    for method in (
        "CredentialService/GenerateHmac",
        "CredentialService/VerifyHmac",
        "CredentialService/BatchVerifyHmac",
        "CredentialService/VerifyApiKey",
        "CredentialService/SignWebhook",
        "CredentialService/VerifyWebhook",
        "TokenService/VerifyToken",
    )
)
"""Methods that ask nothing of the database, and of the token but MACs, where all is remembered."""


@dataclass(frozen=True, slots=True)
class Guards:
    """What every method asks, and tells."""

    cache: Cache
    access: Access
    authority: Authority
    refusals: Refusals
    observer: Observer


def check_table() -> None:
    """Raises ValueError where somebody is held to merchants of its own by a method whose requests name none."""
    for path, permission in PERMISSIONS.items():
        method = naming.descriptor_of(path)
        named = path in FILTERED | BATCHES or (method is not None and naming.is_about_one(method))
        if not named and set(permission.grants.values()) != {Grant.ANY}:
            raise ValueError(f"{path} names no resource to hold its callers to")


class GuardedMethod:
    """One method of a servicer, guarded."""

    def __init__(self, path: str, handler: Handler, guards: Guards) -> None:
        described, permission = naming.descriptor_of(path), PERMISSIONS.get(path)
        self._path = path
        self._rpc = rpc_of(path)
        self._handler = handler
        self._guards = guards
        self._parse: Callable[[bytes], Any] = handler.request_deserializer  # type: ignore[assignment]
        self._serialise: Callable[[Any], bytes] = handler.response_serializer  # type: ignore[assignment]
        self._name = naming.namer_of(described)
        self._results = naming.results_of(described)
        self._changes = permission is not None and permission.effect is Effect.CHANGE
        self._about_one = described is not None and naming.is_about_one(described)
        self._may_be_quick = path in QUICK

    def is_quick(self, turn: Turn) -> bool:
        """Whether its answer waits for nothing but the epoch: who calls and what it is about are remembered."""
        if not self._may_be_quick or len(turn.raw) > MOST_QUICK_BYTES:
            return False
        guards = self._guards
        try:
            known = guards.access.remembered(turn.proof)
            if known is None:
                return False
            request = self._read(turn)
            merchant_id = merchant_of(turn.name if self._about_one else _only_name(request.requests))
            # Of another's merchant a caller learns nothing, not even by its taking longer whether it is remembered.
            is_refused = guards.authority.refuses_at_once(known, self._path, merchant_id)
            return is_refused or guards.cache.is_at_hand(merchant_id)
        except Exception:  # noqa: BLE001 - `answer` meets it again, and tells
            return False

    def answer(self, turn: Turn) -> Answer:
        try:
            known, grant = self._admit(turn)
            request = self._read(turn)
            if self._about_one:
                self._guards.authority.check(known, grant, self._path, turn.name)
            caller = Caller(known.record.principal_id, self._path, turn.context.peer, known, turn.remaining)
            answer = self._handler.unary_unary(request, caller)  # type: ignore[misc, arg-type]
            serialised = answer if isinstance(answer, bytes) else self._serialise(answer)
            self._tell(turn, self._results[answer.result] if self._results else OK, OK)
        except Exception as error:  # noqa: BLE001 - whatever it is must not leave as it is
            return self._refused(error, turn)
        return serialised

    def overloaded(self, turn: Turn) -> Answer:
        return self._refused(Overloaded("More calls wait than keysvc takes on: try again, and spread the calls"), turn)

    def stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        turn = Turn(b"", context, None)
        try:
            self._admit(turn)
            yield from self._handler.stream_stream((self._parsed(raw) for raw in requests), context)  # type: ignore[misc]
            ended = OK if context.is_active() else CANCELLED
            self._tell(turn, ended, ended)
        except (GeneratorExit, grpc.RpcError):
            self._tell(turn, CANCELLED, CANCELLED)
            raise
        except Exception as error:  # noqa: BLE001
            status = self._refused(error, turn)
        else:
            return
        context.abort_with_status(status)

    def _refused(self, error: Exception, turn: Turn) -> grpc.Status:
        """What the caller is told; and the record and the observer."""
        reason, status = self._status_of(error)
        if self._changes:
            try:
                self._guards.refusals.record(self._refusal(turn, reason))
            except Exception as unrecorded:  # noqa: BLE001
                reason, status = self._status_of(unrecorded)
        self._tell(turn, reason, status.code.name)
        return status

    def _refusal(self, turn: Turn, reason: str) -> Refused:
        """With what somebody known was refused, also where the request was not looked at."""
        if turn.request is None and turn.known is not None:
            with suppress(InvalidField):
                self._read(turn)
        principal = turn.known.name if turn.known else ""
        return Refused(
            principal, self._path, turn.name, naming.request_id_of(turn.request), reason, turn.context.peer()
        )

    def _admit(self, turn: Turn) -> tuple[Known, Grant]:
        guards = self._guards
        guards.cache.refresh(turn.arrived)
        # After the wait for a thread and for the epoch, and before the token is asked for anything.
        if turn.time_left() < MIN_SECONDS_LEFT:
            raise DeadlineExceeded("The call's deadline has passed, or is too near to begin: allow it more time")
        known = guards.access.authenticate(turn.proof)
        turn.known = known
        return known, guards.authority.grant(known, self._path)

    def _parsed(self, raw: bytes) -> Any:
        try:
            return self._parse(raw)
        except DecodeError:
            raise InvalidField("request", "is not a message of this method's type") from None

    def _read(self, turn: Turn) -> Any:
        if turn.request is None:
            turn.request = self._parsed(turn.raw)
            turn.name = self._name(turn.request)
        return turn.request

    def _tell(self, turn: Turn, result: str, code: str) -> None:
        """Tells no name or id that has not the form of one: it may hold anything."""
        known, request_id = turn.known, naming.request_id_of(turn.request) if self._changes else ""
        self._guards.observer(
            CallLine(
                time(), self._rpc, known.name if known else "", turn.name if is_name(turn.name) else "", result, code,
                perf_counter() - turn.begun, request_id if is_id(request_id) else "",
            )
        )  # fmt: skip

    def _status_of(self, error: Exception) -> tuple[str, grpc.Status]:
        if isinstance(error, KeysvcError):
            return error.reason, errors.to_status(error)
        opaque_id = errors.new_opaque_id()
        log.error("call.failed", method=self._path, id=opaque_id, exc_info=error)
        return "INTERNAL", errors.internal(opaque_id)


def _only_name(requests: Iterable[Any]) -> str:
    """What all requests of a batch name. Raises InvalidField where they name several, or there are none."""
    names: set[str] = {request.name for request in requests}
    if len(names) != 1:
        raise InvalidField("requests", "name several resources")
    return names.pop()
