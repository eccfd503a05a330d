"""Who may call what, against the contract: no rpc without a row, and no row without an rpc."""

from __future__ import annotations

import re
from pathlib import Path

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from keysvc.model.permissions import CALLERS, PUBLIC
from keysvc.model.principals import PrincipalKind

PROTOS = Path(__file__).parents[2] / "protos"
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


def contract() -> set[str]:
    """Every rpc of the protos, by its path on the wire."""
    return {
        f"/{package}.{service}/{method}"
        for text in (path.read_text() for path in PROTOS.rglob("*.proto"))
        for package in re.findall(r"^package ([\w.]+);", text, re.MULTILINE)
        for service, body in re.findall(r"^service (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
        for method in re.findall(r"^  rpc (\w+)\(", body, re.MULTILINE)
    }


def methods(service: object) -> set[str]:
    return {f"/{service.full_name}/{method.name}" for method in service.methods}  # type: ignore[attr-defined]


def test_the_contract_was_read() -> None:
    assert "/keysvc.v1.CredentialService/VerifyHmac" in contract()
    assert "/keysvc.v1.MerchantService/TerminateMerchant" in contract()


def test_every_rpc_has_its_row_and_nothing_else_has_one() -> None:
    assert contract() | methods(REFLECTION) == set(CALLERS)


def test_nobody_is_let_in_unknown_but_to_ask_for_health() -> None:
    assert methods(HEALTH) >= PUBLIC
    assert not PUBLIC & set(CALLERS)


def test_every_row_lets_the_administrator_in() -> None:
    assert [] == [method for method, kinds in CALLERS.items() if PrincipalKind.ADMIN not in kinds]
