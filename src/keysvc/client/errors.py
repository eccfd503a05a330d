"""What a call ends with that was not answered: one exception, from an error on the wire or from a result in a batch.

Holds what the server said (google.rpc.ErrorInfo and RetryInfo, google/rpc/error_details.proto), nothing of the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, status_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

_DETAILS = "grpc-status-details-bin"


class CallFailed(Exception):
    """keysvc refused the call, could not answer it, or was not reached. As text it is the server's message."""

    def __init__(
        self,
        code: str,
        message: str,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        """The gRPC code's name: UNAVAILABLE."""
        self.message = message
        self.reason = reason
        """keysvc's own name for it: HSM_UNAVAILABLE. Empty where gRPC failed and not keysvc."""
        self.metadata = dict(metadata or {})
        """What the reason's page in the contract promises: STILL_IN_USE names the `callers`."""
        self.retry_after = retry_after
        """Seconds; None where a retry does not help."""

    def __repr__(self) -> str:
        return f"CallFailed({self.code}, reason={self.reason!r}, message={self.message!r})"


def closed() -> CallFailed:
    return CallFailed("CANCELLED", "This client was closed: make another one")


def too_late() -> CallFailed:
    return CallFailed("DEADLINE_EXCEEDED", "The batch with this verification was not answered in time")


def failure_of(error: BaseException) -> BaseException:
    """A new exception for one caller. What is not gRPC's, such as an error of `authorization`, stays what it is."""
    if isinstance(error, grpc.FutureCancelledError | asyncio.CancelledError):
        return closed()  # a batch is cancelled by nothing else
    return _of_rpc(error) if isinstance(error, grpc.RpcError) else error


def failure_in(status: status_pb2.Status) -> CallFailed:
    """Of one result in a batch."""
    return _failure(code_pb2.Code.Name(status.code), status.message, status)


def _of_rpc(error: Any) -> CallFailed:
    """`error` is grpc.RpcError as calls raise it, sync and asyncio."""
    return _failure(error.code().name, error.details() or "", _status_in(error.trailing_metadata() or ()))


def _status_in(trailers: Iterable[tuple[str, Any]]) -> status_pb2.Status:
    """Empty where there is none, or a proxy put something else there."""
    try:
        return status_pb2.Status.FromString(dict(trailers).get(_DETAILS, b""))
    except DecodeError:
        return status_pb2.Status()


def _failure(code: str, message: str, status: status_pb2.Status) -> CallFailed:
    info: ErrorInfo | None = _detail(status, ErrorInfo)
    retry: RetryInfo | None = _detail(status, RetryInfo)
    return CallFailed(
        code,
        message,
        info.reason if info else "",
        info.metadata if info else None,
        retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )


def _detail(status: status_pb2.Status, wanted: type[Message]) -> Any:
    for detail in status.details:
        if detail.Is(wanted.DESCRIPTOR):
            return wanted.FromString(detail.value)
    return None
