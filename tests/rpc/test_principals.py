"""PrincipalService: principals made, changed, disabled and let in again; and when it acts."""

from __future__ import annotations

import re
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from support import jwts
from support.asking import ask, refused, slot_of
from support.outside import new_rsa
from support.principals import KINDS, Principals, create, events_of, let_in, name_of, renew, update
from support.server import Client, DevServer, Refusal

Code = grpc.StatusCode
DAY = 86400


def get(client: Client, principal_id: str) -> Any:
    return ask(client, "GetPrincipal", name=name_of(principal_id))


def assert_names_field(told: Refusal, *fields: str) -> None:
    assert (Code.INVALID_ARGUMENT, "INVALID_FIELD", list(fields)) == (told.code, told.reason, told.fields)


@pytest.mark.parametrize("kind", KINDS)
def test_a_principal_of_each_kind_is_made_and_let_in_with_the_password_shown(
    server: DevServer, client: Client, principals: Principals, kind: str
) -> None:
    principal_id = principals.id()
    made = ask(client, "CreatePrincipal", principal_id=principal_id, principal={"kind": kind})
    assert re.fullmatch(r"[0-9A-F]{32}", made.password)
    told = made.principal
    assert (name_of(principal_id), kind, "ACTIVE", "1") == (
        told.name, told.Kind.Name(told.kind), told.State.Name(told.state), told.etag
    )  # fmt: skip
    assert told.create_time == told.update_time == told.password_time
    assert told == get(client, principal_id)
    with server.client(f"{principal_id}:{made.password}") as caller:
        assert let_in(caller)


def test_a_principal_keeps_all_that_was_said_of_it(client: Client, principals: Principals) -> None:
    key = jwts.public_pem(ed25519.Ed25519PrivateKey.generate())
    fields: dict[str, Any] = {"merchants": ["merchants/b", "merchants/a", "merchants/b"], "can_edit_credentials": True}
    proofs: dict[str, Any] = {"spiffe_id": "spiffe://example.org/keeps-all", "jwt_public_keys": [key]}
    principal_id, _ = principals.make("MERCHANT", **fields, **proofs)
    told = get(client, principal_id)
    assert ["merchants/a", "merchants/b"] == list(told.merchants)
    assert (True, False, False) == (told.can_edit_credentials, told.remote_access, told.can_sign)
    assert (proofs["spiffe_id"], [key]) == (told.spiffe_id, list(told.jwt_public_keys))


def test_an_id_is_used_once(client: Client, principals: Principals) -> None:
    principal_id, caller = principals.make("PSP")
    told = refused(client, "CreatePrincipal", principal_id=principal_id, principal={"kind": "ADMIN"})
    assert (Code.ALREADY_EXISTS, "ALREADY_EXISTS") == (told.code, told.reason)
    assert let_in(caller)
    assert "PSP" == get(client, principal_id).Kind.Name(get(client, principal_id).kind)


@pytest.mark.parametrize("principal_id", ["", " ", "a b", "x" * 65, "x" * 100_000, "mü", "p\n", "p\0", "a/b", "a:b"])
def test_what_is_no_id_makes_no_principal(client: Client, principal_id: str) -> None:
    told = refused(client, "CreatePrincipal", principal_id=principal_id, principal={"kind": "PSP"})
    assert_names_field(told, "principal_id")


@pytest.mark.parametrize("kind", [0, 7, -1, 2**31 - 1])
def test_a_kind_must_be_one_of_the_six(client: Client, principals: Principals, kind: int) -> None:
    principal_id = principals.id()
    told = refused(client, "CreatePrincipal", principal_id=principal_id, principal={"kind": kind})
    assert_names_field(told, "principal.kind")
    assert "NOT_FOUND" == refused(client, "GetPrincipal", name=name_of(principal_id)).reason


def test_a_principal_may_name_itself_and_nobody_else(client: Client, principals: Principals) -> None:
    principal_id = principals.id()
    fields = {"principal_id": principal_id, "principal": {"kind": "PSP", "name": "principals/another"}}
    assert_names_field(refused(client, "CreatePrincipal", **fields), "principal.name")
    create(client, principal_id, "PSP", name=name_of(principal_id))


@pytest.mark.parametrize("name", ["", "principals/", "merchants/p", "principals/a/b", "principals/ü", "x" * 100_000])
def test_what_is_no_principal_is_none_for_any_rpc(client: Client, name: str) -> None:
    for method in ("GetPrincipal", "RenewPrincipalPassword", "DisablePrincipal"):
        assert_names_field(refused(client, method, name=name), "name")
    fields: dict[str, Any] = {"principal": {"name": name}, "update_mask": {"paths": ["can_sign"]}}
    assert_names_field(refused(client, "UpdatePrincipal", **fields), "principal.name")


def test_a_principal_that_is_not_there_is_not_found(client: Client) -> None:
    name = "principals/nobody"
    for method in ("GetPrincipal", "RenewPrincipalPassword", "DisablePrincipal"):
        assert (Code.NOT_FOUND, "NOT_FOUND") == told_of(refused(client, method, name=name))
    fields: dict[str, Any] = {"principal": {"name": name}, "update_mask": {"paths": ["can_sign"]}}
    assert (Code.NOT_FOUND, "NOT_FOUND") == told_of(refused(client, "UpdatePrincipal", **fields))


def told_of(told: Refusal) -> tuple[Code, str]:
    return told.code, told.reason


NOT_FOR: list[tuple[str, str, Any]] = [
    *(("merchants", kind, ["merchants/m"]) for kind in ("ADMIN", "PSP", "ACQUIRER", "AUDITOR")),
    *(("can_edit_credentials", kind, True) for kind in ("ADMIN", "SERVICE", "AUDITOR")),
    *(("remote_access", kind, True) for kind in ("ADMIN", "MERCHANT", "SERVICE", "AUDITOR")),
    *(("can_sign", kind, True) for kind in ("ADMIN", "PSP", "ACQUIRER", "MERCHANT", "AUDITOR")),
    ("merchants", "MERCHANT", ["merchants/-"]),
    ("merchants", "SERVICE", ["merchants/-", "merchants/m"]),
    ("merchants", "SERVICE", ["m"]),
    ("merchants", "SERVICE", [""]),
    ("merchants", "SERVICE", [f"merchants/m-{number}" for number in range(1001)]),
    *(("spiffe_id", "SERVICE", spiffe_id) for spiffe_id in (
        "x", "spiffe://", "spiffe://example.org", "spiffe://example.org/", "https://example.org/a", "spiffe:///a",
        "spiffe://example.org/a/", "spiffe://example.org//a", "spiffe://example.org/../a", "spiffe://example.org/a?b",
        "spiffe://example.org/a#b", "spiffe://example.org/%61", "spiffe://user@example.org/a", "SPIFFE://example.org/a",
        "spiffe://Example.org/a", "spiffe://example.org:1/a", "spiffe://example.org/a\n", "spiffe://example.org/ü",
        "spiffe://example.org/" + "a" * 2048,
    )),
]  # fmt: skip


@pytest.mark.parametrize(("right", "kind", "value"), NOT_FOR, ids=lambda value: repr(value)[:40])
def test_a_right_or_proof_that_a_kind_may_not_have_is_refused(
    client: Client, principals: Principals, right: str, kind: str, value: Any
) -> None:
    """When the principal is made, and when it is changed."""
    principal_id = principals.id()
    fields: dict[str, Any] = {right: value}
    told = refused(client, "CreatePrincipal", principal_id=principal_id, principal={"kind": kind, **fields})
    assert_names_field(told, f"principal.{right}")
    create(client, principal_id, kind)
    principal = {"name": name_of(principal_id), **fields}
    told = refused(client, "UpdatePrincipal", principal=principal, update_mask={"paths": [right]})
    assert_names_field(told, f"principal.{right}")
    assert "1" == get(client, principal_id).etag


def test_a_thousand_merchants_may_be_listed(client: Client, principals: Principals) -> None:
    listed = [f"merchants/m-{number:04}" for number in range(1000)]
    principal_id, _ = principals.make("SERVICE", merchants=listed)
    assert listed == list(get(client, principal_id).merchants)


def no_keys() -> dict[str, str]:
    good = jwts.public_pem(ec.generate_private_key(ec.SECP256R1()))
    return {
        "nothing": "",
        "no PEM": "not a key",
        "half a PEM": good[:60],
        "an empty PEM": "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        "beyond ASCII": "-----BEGIN PUBLIC KEY-----\nü\n-----END PUBLIC KEY-----\n",
        "a NUL": "\0",
        "a private key": jwts.private_pem(ec.generate_private_key(ec.SECP256R1())),
        "another curve": jwts.public_pem(ec.generate_private_key(ec.SECP384R1())),
        "a Bitcoin curve": jwts.public_pem(ec.generate_private_key(ec.SECP256K1())),
        "RSA of 1024 bits": jwts.public_pem(new_rsa(1024)),
        "RSA of 2040 bits": jwts.public_pem(new_rsa(2040)),
        "too much": good + "\n" * 5000,
    }


def test_what_is_no_key_for_jwts_is_refused(client: Client, principals: Principals) -> None:
    principal_id, _ = principals.make("PSP")
    for what, pem in no_keys().items():
        principal: dict[str, Any] = {"name": name_of(principal_id), "jwt_public_keys": [pem]}
        told = refused(client, "UpdatePrincipal", principal=principal, update_mask={"paths": ["jwt_public_keys"]})
        assert (what, ["principal.jwt_public_keys"]) == (what, told.fields)
        fields = {"kind": "PSP", "jwt_public_keys": [pem]}
        told = refused(client, "CreatePrincipal", principal_id=principals.id(), principal=fields)
        assert (what, ["principal.jwt_public_keys"]) == (what, told.fields)
    assert "1" == get(client, principal_id).etag


def test_five_keys_are_taken_and_not_six(client: Client, principals: Principals) -> None:
    pems = [jwts.public_pem(ed25519.Ed25519PrivateKey.generate()) for _ in range(6)]
    principal_id, _ = principals.make("PSP", jwt_public_keys=pems[:5])
    principal = {"name": name_of(principal_id), "jwt_public_keys": pems}
    told = refused(client, "UpdatePrincipal", principal=principal, update_mask={"paths": ["jwt_public_keys"]})
    assert_names_field(told, "principal.jwt_public_keys")
    assert pems[:5] == list(get(client, principal_id).jwt_public_keys)


def test_no_two_principals_share_a_spiffe_id(client: Client, principals: Principals) -> None:
    """Also not one that is disabled, until it has given it up."""
    shared = "spiffe://example.org/shared"
    first, _ = principals.make("SERVICE", spiffe_id=shared)
    second, _ = principals.make("SERVICE")
    wanted: dict[str, Any] = {
        "principal": {"name": name_of(second), "spiffe_id": shared}, "update_mask": {"paths": ["spiffe_id"]}
    }  # fmt: skip
    made = {"principal_id": principals.id(), "principal": {"kind": "SERVICE", "spiffe_id": shared}}
    ask(client, "DisablePrincipal", name=name_of(first))
    for told in (refused(client, "UpdatePrincipal", **wanted), refused(client, "CreatePrincipal", **made)):
        assert (Code.ALREADY_EXISTS, "ALREADY_EXISTS") == told_of(told)
    update(client, first, spiffe_id="")
    assert shared == update(client, second, spiffe_id=shared).spiffe_id
    assert "2" == update(client, second, spiffe_id=shared).etag


def test_a_mask_sets_what_it_names_and_nothing_else(client: Client, principals: Principals) -> None:
    principal_id, _ = principals.make("PSP", can_edit_credentials=True, remote_access=True)
    principal = {"name": name_of(principal_id), "can_edit_credentials": False, "remote_access": False}
    told = ask(client, "UpdatePrincipal", principal=principal, update_mask={"paths": ["remote_access"]})
    assert (True, False, "2") == (told.can_edit_credentials, told.remote_access, told.etag)
    assert told == get(client, principal_id)


def test_an_update_that_changes_nothing_is_no_change(client: Client, principals: Principals) -> None:
    principal_id, _ = principals.make("PSP", can_edit_credentials=True)
    assert get(client, principal_id) == update(client, principal_id, can_edit_credentials=True)
    assert 1 == len(events_of(client, name_of(principal_id)))


@pytest.mark.parametrize(
    "paths", [[], [""], ["*"], ["kind"], ["name"], ["password"], ["etag"], ["can_sign", "kind"], ["x" * 100_000]]
)  # fmt: skip
def test_a_mask_names_what_can_be_set(client: Client, principals: Principals, paths: list[str]) -> None:
    principal_id, _ = principals.make("SERVICE")
    principal = {"name": name_of(principal_id), "kind": "ADMIN", "can_sign": True}
    told = refused(client, "UpdatePrincipal", principal=principal, update_mask={"paths": paths})
    assert_names_field(told, "update_mask")
    assert len(told.message) < 500
    assert "1" == get(client, principal_id).etag


def test_only_the_newest_etag_changes_a_principal(client: Client, principals: Principals) -> None:
    principal_id, caller = principals.make("SERVICE")
    update(client, principal_id, can_sign=True)
    principal = {"name": name_of(principal_id), "etag": "1", "can_sign": False}
    mask = {"paths": ["can_sign"]}
    stale = refused(client, "UpdatePrincipal", principal=principal, update_mask=mask)
    assert (Code.ABORTED, "ETAG_MISMATCH") == told_of(stale)
    assert "ETAG_MISMATCH" == refused(client, "DisablePrincipal", name=name_of(principal_id), etag="1").reason
    assert let_in(caller)
    assert not ask(client, "UpdatePrincipal", principal={**principal, "etag": "2"}, update_mask=mask).can_sign
    ask(client, "DisablePrincipal", name=name_of(principal_id), etag="3")
    assert not let_in(caller)


def test_a_disabled_principal_is_refused_from_the_next_call_on_and_let_in_again_when_it_is_active(
    client: Client, principals: Principals
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    principal_id, caller = principals.make("PSP", jwt_public_keys=[jwts.public_pem(key)])
    retiring = caller
    caller = principals.client(principal_id, renew(client, principal_id, DAY).password)
    was_disabled = False
    for active in (True, False, True):
        if not active:
            told = ask(client, "DisablePrincipal", name=name_of(principal_id))
            assert told.DISABLED == told.state
            assert told == ask(client, "DisablePrincipal", name=name_of(principal_id))
            was_disabled = True
        else:
            update(client, principal_id, state="ACTIVE")
        for _ in range(3):
            assert active is let_in(caller)
            # Disabling ends the overlap for good.
            assert (active and not was_disabled) is let_in(retiring)
            assert active is (jwts.call(client, jwts.signed(key, principal_id)) is None)


@pytest.mark.parametrize("state", ["DISABLED", "STATE_UNSPECIFIED", 99])
def test_an_update_disables_nobody(client: Client, principals: Principals, state: Any) -> None:
    principal_id, caller = principals.make("ADMIN")
    fields = {"principal": {"name": name_of(principal_id), "state": state}, "update_mask": {"paths": ["state"]}}
    assert_names_field(refused(client, "UpdatePrincipal", **fields), "principal.state")
    assert let_in(caller)


def test_a_right_that_is_taken_away_or_given_acts_on_the_next_call(client: Client, principals: Principals) -> None:
    principal_id, caller = principals.make("PSP")
    owner = {"psp": name_of(principal_id)}
    merchant = ask(client, "CreateMerchant", merchant_id=principals.id(), merchant=owner).name
    ask(client, "ActivateMerchant", name=merchant)
    name = slot_of(merchant, "api-password")
    ask(client, "CreateCredential", name=name)
    for _ in range(3):
        assert "PERMISSION_DENIED" == refused(caller, "RenewCredential", name=name).reason
        update(client, principal_id, can_edit_credentials=True)
        assert "remote_access" in refused(caller, "RenewCredential", name=name).message
        update(client, principal_id, remote_access=True)
        ask(caller, "RenewCredential", name=name)
        update(client, principal_id, can_edit_credentials=False, remote_access=False)


def test_a_merchant_that_is_taken_from_a_list_is_refused_on_the_next_call(
    client: Client, principals: Principals, merchant: str
) -> None:
    principal_id, caller = principals.make("SERVICE", merchants=[merchant])
    fields = {"name": merchant, "message": b"m", "mac": b"mac"}
    for _ in range(3):
        ask(caller, "VerifyHmac", **fields)
        update(client, principal_id, merchants=[])
        assert "NOT_OWNER" == refused(caller, "VerifyHmac", **fields).reason
        update(client, principal_id, merchants=["merchants/-"])
        ask(caller, "VerifyHmac", **fields)
        update(client, principal_id, merchants=[merchant])


def test_principals_are_listed_by_id_page_by_page(client: Client, principals: Principals) -> None:
    made = sorted(name_of(principals.make("AUDITOR")[0]) for _ in range(5))
    listed, token, sizes = [], "", []
    while True:
        page = ask(client, "ListPrincipals", page_size=3, page_token=token)
        listed += [each.name for each in page.principals]
        sizes.append(len(page.principals))
        token = page.next_page_token
        if not token:
            break
    assert (sorted(listed), len(set(listed))) == (listed, len(listed))
    assert set(made) | {"principals/admin"} <= set(listed)
    assert {3} == set(sizes[:-1])
    assert get(client, "admin") in ask(client, "ListPrincipals", page_size=1000).principals


@pytest.mark.parametrize("fields", [{"page_size": -1}, {"page_token": "x"}, {"page_token": "A" * 100_000}], ids=repr)
def test_a_page_that_is_none_is_refused(client: Client, fields: dict[str, Any]) -> None:
    assert_names_field(refused(client, "ListPrincipals", **fields), *fields)
    if "page_size" not in fields:
        token = ask(client, "ListMerchants", page_size=1).next_page_token or "AAAA"
        assert_names_field(refused(client, "ListPrincipals", page_token=token), "page_token")


def test_every_change_of_a_principal_is_one_event(client: Client, principals: Principals) -> None:
    principal_id, _ = principals.make("PSP")
    update(client, principal_id, remote_access=True)
    renew(client, principal_id, request_id=principals.id())
    ask(client, "DisablePrincipal", name=name_of(principal_id))
    ask(client, "DisablePrincipal", name=name_of(principal_id))
    told = events_of(client, name_of(principal_id))
    methods = ["CreatePrincipal", "UpdatePrincipal", "RenewPrincipalPassword", "DisablePrincipal"]
    assert [f"/keysvc.v1.PrincipalService/{method}" for method in methods] == [event.method for event in told]
    assert {("principals/admin", "OK")} == {(each.principal, each.Outcome.Name(each.outcome)) for each in told}


def test_the_last_active_administrator_cannot_be_disabled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Not by itself, not while others are disabled, and not by two that disable each other at once."""
    server = DevServer(tmp_path_factory.mktemp("last") / "home").start()
    try:
        with server.client() as admin:
            told = refused(admin, "DisablePrincipal", name="principals/admin")
            assert (Code.FAILED_PRECONDITION, "LAST_ADMIN") == told_of(told)
            for kind in KINDS[1:]:
                create(admin, kind.lower(), kind)
            assert "LAST_ADMIN" == refused(admin, "DisablePrincipal", name="principals/admin").reason
            with server.client(f"second:{create(admin, 'second', 'ADMIN')}") as second:
                ask(second, "DisablePrincipal", name="principals/admin")
                assert not let_in(admin)
                assert "LAST_ADMIN" == refused(second, "DisablePrincipal", name="principals/second").reason
                update(second, "admin", state="ACTIVE")
                ask(admin, "DisablePrincipal", name="principals/second")
                assert [True, False] == [let_in(admin), let_in(second)]
        assert 0 == server.stop()
    finally:
        server.kill()


def test_keys_of_each_kind_are_taken(client: Client, principals: Principals) -> None:
    keys: list[jwts.PrivateKey] = [
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        new_rsa(2048),
        new_rsa(4096),
    ]
    pems = [jwts.public_pem(key) for key in keys]
    principal_id, _ = principals.make("AUDITOR", jwt_public_keys=pems)
    assert pems == list(get(client, principal_id).jwt_public_keys)
