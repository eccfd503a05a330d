"""The services of the contract, and the handlers of all their methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from keysvc.rpc.audit import AuditServicer
from keysvc.rpc.credentials import CredentialServicer
from keysvc.rpc.hsm_keys import HsmKeyServicer
from keysvc.rpc.merchants import MerchantServicer
from keysvc.rpc.principals import PrincipalServicer
from keysvc.rpc.tokens import TokenServicer
from keysvc.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    credential_service_pb2,
    credential_service_pb2_grpc,
    hsm_key_service_pb2,
    hsm_key_service_pb2_grpc,
    merchant_service_pb2,
    merchant_service_pb2_grpc,
    principal_service_pb2,
    principal_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

SERVICES: tuple[str, ...] = tuple(
    service.full_name
    for module in (
        credential_service_pb2, token_service_pb2, merchant_service_pb2, principal_service_pb2, hsm_key_service_pb2,
        audit_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)  # fmt: skip


class _Found:
    """What generated code registers its handlers with, in the place of a server."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """The same handlers once more."""

    def add_registered_method_handlers(
        self, service: str, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        self.handlers |= {f"/{service}/{method}": handler for method, handler in handlers.items()}


@dataclass(frozen=True, slots=True)
class Servicers:
    """One of each."""

    credentials: CredentialServicer
    tokens: TokenServicer
    merchants: MerchantServicer
    principals: PrincipalServicer
    hsm_keys: HsmKeyServicer
    audit: AuditServicer

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Of every method, by its gRPC path."""
        found = _Found()
        for add, servicer in (
            (credential_service_pb2_grpc.add_CredentialServiceServicer_to_server, self.credentials),
            (token_service_pb2_grpc.add_TokenServiceServicer_to_server, self.tokens),
            (merchant_service_pb2_grpc.add_MerchantServiceServicer_to_server, self.merchants),
            (principal_service_pb2_grpc.add_PrincipalServiceServicer_to_server, self.principals),
            (hsm_key_service_pb2_grpc.add_HsmKeyServiceServicer_to_server, self.hsm_keys),
            (audit_service_pb2_grpc.add_AuditServiceServicer_to_server, self.audit),
        ):
            add(servicer, found)  # type: ignore[no-untyped-call]
        return found.handlers
