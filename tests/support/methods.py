"""Every rpc by its path, read from the contract's descriptors, and calls that send bytes as they are."""

from __future__ import annotations

from typing import Any

from google.protobuf.message_factory import GetMessageClass

from keysvc.v1 import (
    audit_service_pb2,
    credential_service_pb2,
    hsm_key_service_pb2,
    merchant_service_pb2,
    principal_service_pb2,
    token_service_pb2,
)
from support.server import CALL_SECONDS, Client, Refusal, refusal

SERVICES = (
    credential_service_pb2.DESCRIPTOR.services_by_name["CredentialService"],
    token_service_pb2.DESCRIPTOR.services_by_name["TokenService"],
    merchant_service_pb2.DESCRIPTOR.services_by_name["MerchantService"],
    principal_service_pb2.DESCRIPTOR.services_by_name["PrincipalService"],
    hsm_key_service_pb2.DESCRIPTOR.services_by_name["HsmKeyService"],
    audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"],
)
METHODS = {f"/{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods}
PATHS = tuple(METHODS)
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

Metadata = tuple[tuple[str, str], ...]


def path_of(name: str) -> str:
    """The path of the method of this name: no two services share one."""
    [path] = [path for path in PATHS if path.endswith(f"/{name}")]
    return path


def message_of(path: str, fields: dict[str, Any]) -> Any:
    """The request of a method. Enums may be given by name."""
    return GetMessageClass(METHODS[path].input_type)(**fields)


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
