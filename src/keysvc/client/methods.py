"""The contract's methods, read from its descriptors: paths, messages, and which of them change nothing.

Also gRPC's service config, which is where the rule of retries is written: a method that changes nothing is tried again
while the server is UNAVAILABLE; one that changes something never is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from keysvc.v1 import (
    audit_service_pb2,
    credential_service_pb2,
    hsm_key_service_pb2,
    merchant_service_pb2,
    principal_service_pb2,
    token_service_pb2,
)

_FILES = (
    audit_service_pb2,
    credential_service_pb2,
    hsm_key_service_pb2,
    merchant_service_pb2,
    principal_service_pb2,
    token_service_pb2,
)
_RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_THROTTLING = {"maxTokens": 100, "tokenRatio": 0.1}
"""A failed attempt uses a token up, an answered call gives a tenth of one back. While more than half of them are gone
nothing is retried: an outage is not met with four times the load."""


@dataclass(frozen=True, slots=True)
class Method:
    """One rpc. `name` is Service/Method."""

    name: str
    path: str
    request: type[Message]
    response: type[Message]
    changes_nothing: bool

    def message(self, request: Message | Mapping[str, Any]) -> Message:
        """The request itself, or made of its fields. Raises TypeError for another method's request."""
        if isinstance(request, Mapping):
            return self.request(**request)
        if not isinstance(request, self.request):
            raise TypeError(f"{self.name} takes a {self.request.DESCRIPTOR.name}, not a {type(request).__name__}")
        return request


def method_of(name: str) -> Method:
    """Raises ValueError for one that the contract does not have."""
    if name not in METHODS:
        raise ValueError(f"The contract has no method {name}: call one of it as Service/Method")
    return METHODS[name]


def service_config(*, retries: bool) -> str:
    """In JSON, as gRPC takes it (grpc/service_config.proto). Calls spread over all addresses that a name has."""
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if retries:
        names = [_name_in_config(method) for method in METHODS.values() if method.changes_nothing]
        config |= {"methodConfig": [{"name": names, "retryPolicy": _RETRIES}], "retryThrottling": _THROTTLING}
    return json.dumps(config)


def _name_in_config(method: Method) -> dict[str, str]:
    _, service, name = method.path.split("/")
    return {"service": service, "method": name}


def _read(descriptor: MethodDescriptor) -> Method:
    service = descriptor.containing_service
    return Method(
        f"{service.name}/{descriptor.name}",
        f"/{service.full_name}/{descriptor.name}",
        GetMessageClass(descriptor.input_type),
        GetMessageClass(descriptor.output_type),
        descriptor.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
    )


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in map(_read, service.methods)
    }
)
