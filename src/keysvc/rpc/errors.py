"""Errors on the wire: one table from reason to gRPC code, and the details that go along.

The details are google.rpc.ErrorInfo always, BadRequest for a field, RetryInfo where a retry helps
(google/rpc/error_details.proto).
"""

from __future__ import annotations

import uuid

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from keysvc.model import errors
from keysvc.model.errors import InvalidField, KeysvcError

DOMAIN = "keysvc"
RETRY_SECONDS = 1

CODES: dict[type[KeysvcError], grpc.StatusCode] = {
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotOwner: grpc.StatusCode.PERMISSION_DENIED,
    errors.InvalidField: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.SlotOccupied: grpc.StatusCode.ALREADY_EXISTS,
    errors.RequestAlreadyDone: grpc.StatusCode.ALREADY_EXISTS,
    errors.SlotEmpty: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WrongKind: grpc.StatusCode.FAILED_PRECONDITION,
    errors.MerchantNotActive: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StillInUse: grpc.StatusCode.FAILED_PRECONDITION,
    errors.TooManyRetiring: grpc.StatusCode.FAILED_PRECONDITION,
    errors.TooManyTokens: grpc.StatusCode.FAILED_PRECONDITION,
    errors.HsmKeyPending: grpc.StatusCode.ALREADY_EXISTS,
    errors.HsmKeyStateWrong: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LastAdmin: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EtagMismatch: grpc.StatusCode.ABORTED,
    errors.HsmUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.TokenLacks: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DecryptFailed: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyFailures: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Integrity: grpc.StatusCode.DATA_LOSS,
}

_RETRY_HELPS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


def to_status(error: KeysvcError) -> grpc.Status:
    """The status that a caller is told."""
    return rpc_status.to_status(to_message(error))


def to_message(error: KeysvcError) -> status_pb2.Status:
    """The same as a message, for an answer that holds it."""
    code = _code_of(error)
    details: list[Message] = [ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if isinstance(error, InvalidField):
        violation = BadRequest.FieldViolation(field=error.field, description=error.problem)
        details.append(BadRequest(field_violations=[violation]))
    if code in _RETRY_HELPS:
        retry = RetryInfo()
        retry.retry_delay.FromSeconds(RETRY_SECONDS)
        details.append(retry)
    return _message(code, error.message, details)


def new_opaque_id() -> str:
    return uuid.uuid4().hex[:12]


def internal(opaque_id: str) -> grpc.Status:
    """For what should not have happened: the caller is told an id, the log the rest."""
    info = ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"id": opaque_id})
    message = f"keysvc failed to handle this call; its log tells more under id {opaque_id}"
    return rpc_status.to_status(_message(grpc.StatusCode.INTERNAL, message, [info]))


def _code_of(error: KeysvcError) -> grpc.StatusCode:
    return next(CODES[cls] for cls in type(error).__mro__ if cls in CODES)


def _message(code: grpc.StatusCode, message: str, details: list[Message]) -> status_pb2.Status:
    packed = []
    for detail in details:
        any_detail = Any()
        any_detail.Pack(detail)
        packed.append(any_detail)
    number: int = code.value[0]
    return status_pb2.Status(code=number, message=message, details=packed)
