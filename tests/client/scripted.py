"""A small gRPC server on loopback that answers what a test says, and notes each call: for what keysvc rarely does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from keysvc.client.methods import METHODS
from keysvc.v1 import credential_service_pb2 as pb

Answer: TypeAlias = Callable[[Any], Message]
THREADS = 64
BATCH = "CredentialService/BatchVerifyHmac"
VERIFY = "CredentialService/VerifyHmac"


class Refused(Exception):
    """Raised by an answer, to end the call with a status."""

    def __init__(self, status: status_pb2.Status) -> None:
        self.status = status


def status_of(code: grpc.StatusCode, message: str, reason: str = "", seconds: float | None = None) -> status_pb2.Status:
    details: list[Message] = []
    if reason:
        details.append(ErrorInfo(reason=reason, domain="keysvc", metadata={"callers": "principals/a"}))
    if seconds is not None:
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(int(seconds * 1e9))
        details.append(retry)
    packed = [AnyMessage() for _ in details]
    for empty, detail in zip(packed, details, strict=True):
        empty.Pack(detail)
    number: int = code.value[0]
    return status_pb2.Status(code=number, message=message, details=packed)


def unavailable() -> Refused:
    return Refused(status_of(grpc.StatusCode.UNAVAILABLE, "The token is out of reach", "HSM_UNAVAILABLE", 1.5))


@dataclass
class Scripted(grpc.GenericRpcHandler):
    """Answers by method's name, Service/Method; what has no answer is answered with an empty response."""

    address: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        [method] = [each for each in METHODS.values() if each.path == handler_call_details.method]
        proof = dict(handler_call_details.invocation_metadata or ()).get("authorization", "")

        def answer(request: Any, context: grpc.ServicerContext) -> Message:
            with self.lock:
                self.calls.append(method.name)
                self.requests.append(request)
                self.headers.append(str(proof))
            try:
                return self.answers.get(method.name, lambda _: method.response())(request)
            except Refused as refused:
                context.abort_with_status(rpc_status.to_status(refused.status))
                raise

        return grpc.unary_unary_rpc_method_handler(
            answer, method.request.FromString, lambda message: message.SerializeToString()
        )

    def fail_first(self, method: str, times: int, answer: Answer | None = None) -> None:
        """UNAVAILABLE so many times, then answered."""
        left = iter([None] * times)
        lock = threading.Lock()

        def answered(request: Any) -> Message:
            with lock:
                fails = next(left, "done") is None
            if fails:
                raise unavailable()
            return (answer or (lambda _: METHODS[method].response()))(request)

        self.answers[method] = answered

    def refuse(self, method: str, code: grpc.StatusCode, message: str = "no", reason: str = "") -> None:
        def refused(_: Any) -> Message:
            raise Refused(status_of(code, message, reason))

        self.answers[method] = refused

    def count(self, method: str) -> int:
        return self.calls.count(method)


@contextmanager
def scripted(listen: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None) -> Iterator[Scripted]:
    handler = Scripted()
    with ThreadPoolExecutor(THREADS) as threads:
        server = grpc.server(threads, handlers=[handler], options=[("grpc.max_receive_message_length", 8 << 20)])
        port = server.add_secure_port(listen, credentials) if credentials else server.add_insecure_port(listen)
        handler.address = listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"
        server.start()
        try:
            yield handler
        finally:
            server.stop(0).wait()


def verified(request: pb.VerifyHmacRequest) -> pb.VerifyHmacResponse:
    """VALID where the MAC is the message written backwards; the version tells how long the message is."""
    right = request.mac == request.message[::-1]
    return pb.VerifyHmacResponse(
        result="VALID" if right else "INVALID",
        matched_credential=request.name if right else "",
        matched_version=len(request.message) if right else 0,
    )


def batch_verified(request: pb.BatchVerifyHmacRequest) -> pb.BatchVerifyHmacResponse:
    """As `verified`; an item by the name `bad` has an error of its own."""
    bad = status_of(grpc.StatusCode.NOT_FOUND, "No such merchant", "NOT_FOUND")
    return pb.BatchVerifyHmacResponse(
        results=[{"error": bad} if item.name == "bad" else {"response": verified(item)} for item in request.requests]
    )
