"""Who is let in by `authorization: Basic …`; and that whoever is not learns nothing from the refusal."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta

import pytest

from keysvc.model.errors import PermissionDenied, Unauthenticated
from keysvc.model.permissions import PERMISSIONS, PUBLIC
from keysvc.model.principals import ALL_MERCHANTS, PrincipalKind, PrincipalState
from keysvc.model.secrets import SecretText
from keysvc.service.access import Proof
from keysvc.service.authority import Authority
from keysvc.service.known import Known
from service.parts import Service, basic, both_databases

PASSWORD = "pässword: with a colon"


def _encoded(raw: bytes) -> str:
    return "Basic " + base64.b64encode(raw).decode()


MALFORMED = [
    "",
    "Basic",
    "Basic ",
    "Bearer " + base64.b64encode(b"admin:secret").decode(),
    base64.b64encode(b"admin:secret").decode(),
    "Basic not!base64",
    "Basic YWRtaW4",
    "Basic YWRtaW46c2VjcmV0=",
    "Basic \u00fcber",
    _encoded(b"admin"),
    _encoded(b":secret"),
    _encoded(b"admin:"),
    _encoded(b"\xff\xfe:secret"),
    _encoded(b"adm\0in:secret"),
    _encoded(b"admin':secret"),
    _encoded("ädmin:secret".encode()),
    _encoded(b"a" * 65 + b":secret"),
    _encoded(b"admin:" + b"x" * 2000),
    basic("admin", PASSWORD) + ", " + basic("admin", PASSWORD),
]


@pytest.fixture(autouse=True)
def principals(service: Service) -> None:
    service.admins.put("admin", SecretText(PASSWORD))
    service.admins.put("disabled", SecretText(PASSWORD))
    with service.store.change() as change:
        found = change.principal("disabled")
        assert found is not None
        change.put_principal(service.sealer.seal(replace(found, state=PrincipalState.DISABLED)))


@both_databases
def test_right_credentials_are_let_in_whatever_the_case_of_the_scheme(service: Service) -> None:
    header = basic("admin", PASSWORD)
    for written in (header, header.replace("Basic", "basic"), header.replace("Basic", "BASIC"), header + " "):
        assert "admin" == service.log_in(written).principal_id
        assert "admin" == service.log_in(written).principal_id  # remembered now


@both_databases
def test_every_refusal_is_the_same(service: Service) -> None:
    headers = [
        *MALFORMED,
        basic("admin", "wrong"),
        basic("admin", PASSWORD + " "),
        basic("ADMIN", PASSWORD),
        basic("nobody", PASSWORD),
        basic("disabled", PASSWORD),
        basic("disabled", "wrong"),
    ]
    told = {header: _refusal(service, header) for header in headers}
    right = _refusal(service, basic("admin", "wrong"))
    assert dict.fromkeys(headers, right) == told
    assert "UNAUTHENTICATED" == right[1]


def test_a_wrong_header_is_not_remembered(service: Service) -> None:
    for header in (basic("admin", "wrong"), basic("disabled", PASSWORD), *MALFORMED):
        _refusal(service, header)
    assert {} == service.cache._headers


def test_a_header_is_remembered_by_a_hash_of_this_process_alone(service: Service) -> None:
    header = basic("admin", PASSWORD)
    for replica in (service, service.replica()):
        replica.log_in(header)
        assert header not in repr(replica.cache._headers)
    other = service.replica()
    other.log_in(header)
    assert list(service.cache._headers) != list(other.cache._headers)


def test_a_disabled_principal_is_let_in_no_more(service: Service) -> None:
    header = basic("admin", PASSWORD)
    service.log_in(header)
    with service.replica().store.change() as change:
        found = change.principal("admin")
        assert found is not None
        change.put_principal(service.sealer.seal(replace(found, state=PrincipalState.DISABLED)))
    with pytest.raises(Unauthenticated):
        service.log_in(header)


def test_a_password_is_bound_to_its_principal(service: Service) -> None:
    """The digest of one principal's password in the row of another opens nothing, even with a right MAC."""
    service.admins.put("other", SecretText("another password"))
    with service.store.change() as change:
        admin, other = change.principal("admin"), change.principal("other")
        assert admin is not None
        assert other is not None
        change.put_principal(service.sealer.seal(replace(other, password_digest=admin.password_digest)))
    with pytest.raises(Unauthenticated):
        service.log_in(basic("other", PASSWORD))


def test_what_the_table_does_not_name_is_allowed_to_nobody(service: Service) -> None:
    admin = service.log_in(basic("admin", PASSWORD))
    authority = Authority(service.store, service.sealer)
    for method in ("/keysvc.v1.CredentialService/Unheard", "", *PUBLIC):
        for kind in PrincipalKind:
            with pytest.raises(PermissionDenied):
                authority.grant(Known.of(replace(admin, kind=kind)), method)


def test_the_table_is_kept(service: Service) -> None:
    admin = service.log_in(basic("admin", PASSWORD))
    authority = Authority(service.store, service.sealer)
    for method, row in PERMISSIONS.items():
        for kind in PrincipalKind:
            known = Known.of(replace(admin, kind=kind))
            if kind in row.grants:
                assert row.grants[kind] is authority.grant(known, method)
            else:
                with pytest.raises(PermissionDenied):
                    authority.grant(known, method)


def test_what_refuses_a_caller_at_once_tells_nothing_of_what_there_is(service: Service) -> None:
    service.add_merchant("own")
    service.add_merchant("another")
    admin = service.log_in(basic("admin", PASSWORD))
    verify = "/keysvc.v1.CredentialService/VerifyHmac"

    def refused(kind: PrincipalKind, *merchants: str) -> list[str]:
        known = Known.of(replace(admin, kind=kind, merchants=merchants))
        authority = Authority(service.store, service.sealer)
        return [each for each in ("own", "another", "absent") if authority.refuses_at_once(known, verify, each)]

    assert ["another", "absent"] == refused(PrincipalKind.SERVICE, "own")
    assert [] == refused(PrincipalKind.ADMIN, ALL_MERCHANTS)
    assert ["own", "another", "absent"] == refused(PrincipalKind.AUDITOR, ALL_MERCHANTS)


def test_a_proof_is_remembered_until_it_ends(service: Service) -> None:
    proof = Proof(basic("admin", PASSWORD), tuple, lambda: "ipv4:127.0.0.1:1")
    assert service.access.remembered(proof) is None
    known = service.access.authenticate(proof)
    assert known is service.access.remembered(proof)
    ends = replace(known, until=service.clock() + timedelta(hours=1))
    service.cache.remember_header(service.access._key(proof), ends, service.cache.moves)
    assert ends is service.access.remembered(proof)
    service.clock.forward(timedelta(hours=1))
    assert service.access.remembered(proof) is None
    assert service.access.remembered(Proof("", tuple, lambda: "")) is None


def _refusal(service: Service, header: str) -> tuple[str, str, dict[str, str]]:
    """Text, reason and metadata: all that leaves the process."""
    try:
        service.log_in(header)
    except Unauthenticated as error:
        return error.message, error.reason, error.metadata
    except Exception as error:  # noqa: BLE001 - one that is not keysvc's own shows by its name
        return type(error).__name__, "", {}
    return "was let in", "", {}
