"""Who may call what, against the contract: no rpc without a row, and no row without an rpc."""

from __future__ import annotations

import re
from pathlib import Path

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from keysvc.model.permissions import PERMISSIONS, PUBLIC, REMOTE_METHODS, Effect, Grant, grants_of
from keysvc.model.principals import PrincipalKind

PROTOS = Path(__file__).parents[2] / "protos"
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]

ADMIN, PSP, ACQUIRER, MERCHANT, SERVICE, AUDITOR = PrincipalKind
VERBS = {
    Effect.CHANGE: "Create|Renew|Revoke|Import|Activate|Suspend|Terminate|Update|Disable",
    Effect.VIEW: "Get|List|ServerReflectionInfo",
    Effect.USE: "Generate|Verify|Encrypt|Decrypt",
}


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


def rows(effect: Effect | None = None) -> dict[str, dict[PrincipalKind, Grant]]:
    """Grants by a method's last name, of the rows with this effect."""
    return {
        method.rpartition("/")[2]: row.grants
        for method, row in PERMISSIONS.items()
        if effect is None or row.effect is effect
    }


def test_every_rpc_has_its_row_and_nothing_else_has_one() -> None:
    assert contract() | methods(REFLECTION) == set(PERMISSIONS)


def test_nobody_is_let_in_unknown_but_to_ask_for_health() -> None:
    assert methods(HEALTH) >= PUBLIC
    assert not PUBLIC & set(PERMISSIONS)


def test_every_row_lets_the_administrator_in() -> None:
    assert [] == [name for name, grants in rows().items() if grants.get(ADMIN) is not Grant.ANY]


def test_an_effect_is_what_the_verb_says() -> None:
    expected = {name: next((e for e, verbs in VERBS.items() if re.match(verbs, name)), None) for name in rows()}
    assert expected == {name: effect for effect in Effect for name in rows(effect)}


def test_who_changes_what() -> None:
    """An ADMIN anything; the owners their credentials and tokens, with the right to edit; others nothing."""
    owned = {name for name in rows(Effect.CHANGE) if name.endswith(("Credential", "Token"))}
    for name, grants in rows(Effect.CHANGE).items():
        others = dict.fromkeys((PSP, ACQUIRER, MERCHANT), Grant.EDIT) if name in owned else {}
        assert (name, {ADMIN: Grant.ANY, **others}) == (name, grants)
    assert 6 == len(owned)


def test_who_uses_keys() -> None:
    """An ADMIN, and a SERVICE: it verifies for the merchants that it lists, and all else needs the right to sign."""
    for name, grants in rows(Effect.USE).items():
        expected = Grant.OWN if name.startswith("Verify") else Grant.SIGN
        assert (name, {ADMIN: Grant.ANY, SERVICE: expected}) == (name, grants)


def test_an_auditor_views_everything_that_is_a_view_of_what_is_stored() -> None:
    """The import key is for those who import."""
    assert {"GetImportKey"} == {name for name, grants in rows(Effect.VIEW).items() if AUDITOR not in grants}
    assert {Grant.ANY} == {grants[AUDITOR] for grants in rows().values() if AUDITOR in grants}


def test_owners_view_their_own_and_never_principals_or_the_audit_record() -> None:
    for kind in (PSP, ACQUIRER, MERCHANT):
        views = {name: grants[kind] for name, grants in rows(Effect.VIEW).items() if kind in grants}
        own = {name for name, grant in views.items() if grant is Grant.OWN}
        assert {"GetCredential", "ListCredentials", "ListTokens", "GetMerchant", "ListMerchants"} == own
        assert {"GetImportKey", "ServerReflectionInfo"} == set(views) - own


def test_what_a_kind_may_call_is_its_column_of_the_table() -> None:
    for kind in PrincipalKind:
        expected = {method: row.grants[kind] for method, row in PERMISSIONS.items() if kind in row.grants}
        assert expected == grants_of(kind)


def test_new_api_passwords_come_by_no_other_method() -> None:
    """Every change of a credential, but that which ends it."""
    changes = {name for name in PERMISSIONS if name.endswith("Credential") and "Get" not in name}
    assert changes - {"/keysvc.v1.CredentialService/RevokeCredential"} == REMOTE_METHODS
