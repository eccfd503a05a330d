"""Who may call what, against the contract: no rpc without a row, and no row without an rpc."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from keysvc.model.permissions import BATCHES, FILTERED, PERMISSIONS, PUBLIC, REMOTE_METHODS, Effect, Grant, grants_of
from keysvc.model.principals import PrincipalKind

PROTOS = Path(__file__).parents[2] / "protos"
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
CHANGING = (
    "Create", "Renew", "Revoke", "Import", "Swap", "Schedule", "Activate", "Suspend", "Terminate", "Update", "Disable",
    "Request", "Approve", "Withdraw",
)  # fmt: skip
VIEWING = ("Get", "List", "Summarize")
USING = ("Generate", "Verify", "Encrypt", "Decrypt", "Sign", "BatchVerify")
OWNERS = (PrincipalKind.PSP, PrincipalKind.ACQUIRER, PrincipalKind.MERCHANT)
WORDS = {
    "owners": dict.fromkeys(OWNERS, Grant.OWN),
    "owners, who see their own": dict.fromkeys(OWNERS, Grant.OWN),
    "owners with can_edit_credentials": dict.fromkeys(OWNERS, Grant.EDIT),
    "SERVICE for the merchants that it lists": {PrincipalKind.SERVICE: Grant.OWN},
    "SERVICE with can_sign, for the merchants that it lists": {PrincipalKind.SERVICE: Grant.SIGN},
}
_RPC = r"((?:^  //.*\n)*)^  rpc (\w+)\("


def contract() -> dict[str, str]:
    """Every rpc of the protos, by its path on the wire, with its comment."""
    return {
        f"/{package}.{service}/{method}": comment.replace("\n  //", "")
        for text in (path.read_text() for path in PROTOS.rglob("*.proto"))
        for package in re.findall(r"^package ([\w.]+);", text, re.MULTILINE)
        for service, body in re.findall(r"^service (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
        for comment, method in re.findall(_RPC, body, re.MULTILINE)
    }


def methods(service: object) -> set[str]:
    return {f"/{service.full_name}/{method.name}" for method in service.methods}  # type: ignore[attr-defined]


def effect_by_name(path: str) -> Effect:
    verb = path.rpartition("/")[2]
    [effect] = [
        effect
        for effect, verbs in ((Effect.CHANGE, CHANGING), (Effect.VIEW, VIEWING), (Effect.USE, USING))
        if verb.startswith(verbs)
    ]
    return effect


def test_the_contract_was_read() -> None:
    assert "Adds a merchant" in contract()["/keysvc.v1.MerchantService/CreateMerchant"]
    assert "/keysvc.v1.TokenService/VerifyToken" in contract()
    assert "/keysvc.v1.AuditService/GetAuditHead" in contract()


def test_every_rpc_has_its_row_and_nothing_else_has_one() -> None:
    assert set(contract()) | methods(REFLECTION) == set(PERMISSIONS)


def test_nobody_is_let_in_unknown_but_to_ask_for_health() -> None:
    assert methods(HEALTH) >= PUBLIC
    assert not PUBLIC & set(PERMISSIONS)


def test_every_row_lets_the_administrator_in_everywhere() -> None:
    denied = [method for method, row in PERMISSIONS.items() if row.grants.get(PrincipalKind.ADMIN) is not Grant.ANY]
    assert [] == denied


def test_a_method_changes_something_if_its_verb_says_so() -> None:
    """So that every refusal of a change is recorded, and none of anything else."""
    assert {path: effect_by_name(path) for path in contract()} == {
        path: PERMISSIONS[path].effect for path in contract()
    }


def test_the_contract_says_of_every_view_that_it_changes_nothing_and_of_no_change() -> None:
    said = {path for path, comment in contract().items() if "Changes nothing." in comment}
    assert {path for path in contract() if PERMISSIONS[path].effect is Effect.VIEW} <= said
    assert not said & {path for path in contract() if PERMISSIONS[path].effect is Effect.CHANGE}


def callers(path: str) -> dict[PrincipalKind, Grant]:
    """Who may call by the words of the contract: `For: …`, to the end of the sentence."""
    words = re.search(r"For: (.*?)\.", contract()[path])
    assert words is not None, path
    if same := re.fullmatch(r"as (\w+)", words[1]):
        return callers(path.rpartition("/")[0] + "/" + same[1])
    grants: dict[PrincipalKind, Grant] = {}
    for part in words[1].split("; "):
        grants.update(WORDS[part] if part in WORDS else dict.fromkeys(map(PrincipalKind, part.split(", ")), Grant.ANY))
    return grants


@pytest.mark.parametrize("path", list(contract()))
def test_a_row_is_what_the_contract_says(path: str) -> None:
    assert callers(path) == PERMISSIONS[path].grants


def test_auditors_and_services_change_nothing() -> None:
    for kind in (PrincipalKind.AUDITOR, PrincipalKind.SERVICE):
        assert Effect.CHANGE not in {PERMISSIONS[method].effect for method in grants_of(kind)}


def test_every_way_to_a_new_secret_of_a_slot_needs_remote_access_for_the_api_password() -> None:
    giving = {path for path in contract() if re.search(r"/(Create|Renew|Import)Credential$", path)}
    assert giving == REMOTE_METHODS


def test_only_what_the_contract_says_is_of_all_that_the_caller_may_see_is_filtered() -> None:
    named = ("MerchantService/ListMerchants", "CredentialService/ListCredentials",
             "CredentialService/SummarizeCredentials")  # fmt: skip
    assert {f"/keysvc.v1.{method}" for method in named} == FILTERED
    assert {Effect.VIEW} == {PERMISSIONS[method].effect for method in FILTERED}


def test_the_methods_whose_requests_hold_requests_are_known_as_batches() -> None:
    assert {path for path in contract() if "/Batch" in path} == BATCHES


def test_what_a_kind_may_call_is_its_column_of_the_table() -> None:
    for kind in PrincipalKind:
        column = {method: row.grants[kind] for method, row in PERMISSIONS.items() if kind in row.grants}
        assert column == grants_of(kind)
