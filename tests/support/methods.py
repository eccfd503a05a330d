"""Every rpc by its path, read from the contract's descriptors, and calls that send bytes as they are."""

from __future__ import annotations

from typing import Any

from keysvc.v1 import credential_service_pb2, merchant_service_pb2
from support.server import CALL_SECONDS, Client, Refusal, refusal

_SERVICES = (
    credential_service_pb2.DESCRIPTOR.services_by_name["CredentialService"],
    merchant_service_pb2.DESCRIPTOR.services_by_name["MerchantService"],
)
PATHS = tuple(f"/{service.full_name}/{method.name}" for service in _SERVICES for method in service.methods)
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

Metadata = tuple[tuple[str, str], ...]


def call_raw(client: Client, path: str, raw: bytes, metadata: Metadata | None = None) -> Any:
    """Calls any method with the bytes of its request; answers the bytes of its response, or a list of them."""
    sent = client.metadata if metadata is None else metadata
    if path == REFLECTION:
        stream: Any = client.channel.stream_stream(path)
        return list(stream(iter([raw]), metadata=sent, timeout=CALL_SECONDS))
    unary: Any = client.channel.unary_unary(path)
    return unary(raw, metadata=sent, timeout=CALL_SECONDS)


def refused_raw(client: Client, path: str, raw: bytes, metadata: Metadata | None = None) -> Refusal:
    """The error that such a call ends with; an AssertionError where it is answered."""
    return refusal(lambda: call_raw(client, path, raw, metadata))
