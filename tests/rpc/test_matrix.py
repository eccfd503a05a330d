"""Who may do what, all of it over the wire: each kind of principal, with and without each right, calls every rpc
on a merchant of its own, on another's and on one that is not there.

Every request is wrong in all its fields but the names, where the contract has such fields: so what is
admitted changes nothing, and what is not admitted must be told so and nothing of what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from support.asking import SLOTS, ask, refused, result_of
from support.methods import METHODS, PATHS, REFLECTION, call_raw, message_of, refused_raw
from support.principals import Principals
from support.server import Client, Refusal

from keysvc.model.permissions import BATCHES, FILTERED, PERMISSIONS, REMOTE_METHODS, Grant, grants_of
from keysvc.model.principals import PrincipalKind

RULES = {
    ("ADMIN",): {
        "may": "everything",
    },
    ("PSP", "ACQUIRER", "MERCHANT"): {
        "may": "GetImportKey ListMerchants",
        "on its own": "GetMerchant GetCredential ListCredentials GetRotation SummarizeCredentials ListTokens",
        "on its own, with can_edit_credentials":
            "CreateCredential RenewCredential RevokeCredential ImportCredential SwapCredentials ScheduleRotation"
            " CreateToken RevokeToken",
    },
    ("SERVICE",): {
        "may": "BatchVerifyHmac",
        "on its own": "VerifyHmac VerifyWebhook VerifyApiKey VerifyToken",
        "on its own, with can_sign": "GenerateHmac SignWebhook Encrypt Decrypt",
    },
    ("AUDITOR",): {
        "may": "GetMerchant ListMerchants GetCredential ListCredentials GetRotation SummarizeCredentials ListTokens"
               " GetPrincipal ListPrincipals ListAuditEvents GetAuditHead ListHsmKeys",
    },
}  # fmt: skip
"""The rules of the domain, in words; not made from the table that they are to check. Each request of a batch is held
to its caller's own by itself, so that the batch as such may be sent by whoever verifies."""
OF_ALL = ("ListCredentials", "SummarizeCredentials")
"""Also asked of merchants/-, and then answered of the caller's own."""
SETTING_A_SLOT = ("CreateCredential", "RenewCredential", "ImportCredential")
"""For the API password: a PSP or ACQUIRER with remote_access besides; a MERCHANT never."""

RIGHTS: dict[str, list[tuple[str, ...]]] = {
    "ADMIN": [()],
    "PSP": [(), ("can_edit_credentials",), ("remote_access",), ("can_edit_credentials", "remote_access")],
    "ACQUIRER": [(), ("can_edit_credentials",), ("remote_access",), ("can_edit_credentials", "remote_access")],
    "MERCHANT": [(), ("can_edit_credentials",)],
    "SERVICE": [(), ("can_sign",), ("all",), ("all", "can_sign")],
    "AUDITOR": [()],
}
"""Every set of rights that a principal of each kind may have; `all` stands for merchants/-."""
SUBJECTS = [(kind, rights) for kind, sets in RIGHTS.items() for rights in sets]
TARGETS = ("own", "other", "unknown")
ALL = "all"
"""A fourth target, of those that may be asked of it: merchants/-."""
TESTED_SLOTS = ("primary-hmac-key", "api-password")
WRONG: dict[str, Any] = {
    "request_id": "no id!", "page_size": -1, "etag": "no etag", "hmac_algorithm": 99, "secret_format": 99,
    "recipient_public_key": "no key", "additional_data": bytes(64 * 1024 + 1), "token_id": "no id!", "kind": 99,
    "due_within": {"seconds": -1}, "used_within": {"seconds": -1}, "rotate_before": {"nanos": -1}, "scheme": 99,
    "purpose": 99,
}  # fmt: skip
"""Values that are taken by no rpc, by their fields' names."""
NOWHERE = "principals/nobody-has-this-id"
DENIED, NOT_OWNER, ADMITTED = "PERMISSION_DENIED", "NOT_OWNER", "admitted"


@dataclass(frozen=True)
class Cell:
    """One call: an rpc, whose merchant it is about, and which slot where the rpc names one."""

    path: str
    target: str = ""
    slot: str = ""

    @property
    def method(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Subject:
    """One principal, and the merchants that it is tried on, by target."""

    kind: str
    rights: tuple[str, ...]
    client: Client
    merchants: dict[str, str]


def is_about_a_merchant(path: str) -> bool:
    fields = METHODS[path].input_type.fields_by_name
    others = ("/keysvc.v1.PrincipalService/", "/keysvc.v1.AuditService/", "/keysvc.v1.HsmKeyService/")
    return not path.startswith(others) and bool({"name", "parent"} & set(fields))


def takes_a_slot(path: str) -> bool:
    fields = METHODS[path].input_type.fields_by_name
    return path.startswith("/keysvc.v1.CredentialService/") and "name" in fields and "kind" not in fields


def cells(path: str) -> list[Cell]:
    if not is_about_a_merchant(path):
        return [Cell(path)]
    slots = TESTED_SLOTS if takes_a_slot(path) else ("",)
    targets = (*TARGETS, ALL) if Cell(path).method in OF_ALL else TARGETS
    return [Cell(path, target, slot) for target in targets for slot in slots]


def request_of(cell: Cell, merchants: dict[str, str]) -> bytes:
    """What is right is the name alone."""
    fields = METHODS[cell.path].input_type.fields_by_name
    sent = {field: value for field, value in WRONG.items() if field in fields}
    merchant = merchants.get(cell.target, "")
    if "parent" in fields:
        sent["parent"] = merchant
    elif cell.slot:
        sent["name"] = f"{merchant}/credentials/{cell.slot}"
    elif "/keysvc.v1.TokenService/" in cell.path:
        sent["name"] = f"{merchant}/tokens/none"
    elif "name" in fields:
        sent["name"] = merchant or NOWHERE
    return bytes(message_of(cell.path, sent).SerializeToString())


def by_the_domain(kind: str, rights: tuple[str, ...], cell: Cell) -> str:
    """What must come of a call, by RULES."""
    [rules] = [rules for kinds, rules in RULES.items() if kind in kinds]
    [how] = [how for how, methods in rules.items() if methods == "everything" or cell.method in methods.split()] or [""]
    if how == "may":
        return ADMITTED
    if not how or (how.partition("with ")[2] and how.partition("with ")[2] not in rights):
        return DENIED
    if cell.method in SETTING_A_SLOT and cell.slot == "api-password" and "remote_access" not in rights:
        return DENIED
    return ADMITTED if cell.target in ("own", ALL) or "all" in rights else NOT_OWNER


def by_the_table(kind: str, rights: tuple[str, ...], cell: Cell) -> str:
    """The same, by the table that the service itself goes by."""
    grant = grants_of(PrincipalKind(kind)).get(cell.path)
    lacking = {Grant.EDIT: "can_edit_credentials", Grant.SIGN: "can_sign"}
    if grant is None or (grant in lacking and lacking[grant] not in rights):
        return DENIED
    if grant is Grant.ANY or cell.path in BATCHES or (cell.path in FILTERED and cell.target in ("", ALL)):
        return ADMITTED
    if cell.path in REMOTE_METHODS and cell.slot == "api-password" and "remote_access" not in rights:
        return DENIED
    return ADMITTED if cell.target == "own" or "all" in rights else NOT_OWNER


def called(subject: Subject, cell: Cell) -> Refusal | None:
    """None for a call that was answered."""
    try:
        call_raw(subject.client, cell.path, request_of(cell, subject.merchants))
    except grpc.RpcError as error:
        return Refusal(error)
    return None


def came_of(told: Refusal | None) -> str:
    if told is not None and told.reason in (DENIED, NOT_OWNER):
        assert grpc.StatusCode.PERMISSION_DENIED == told.code
        return told.reason
    return ADMITTED


@pytest.fixture(scope="module")
def subjects(client: Client, principals: Principals, merchant_ids: Any) -> dict[tuple[str, tuple[str, ...]], Subject]:
    """One of each, with a merchant of its own; another's is the same for all."""
    other, unknown = client.active_merchant(merchant_ids()), f"merchants/{merchant_ids()}"
    made = {}
    for kind, rights in SUBJECTS:
        merchant_id = merchant_ids()
        own = f"merchants/{merchant_id}"
        fields: dict[str, Any] = {right: True for right in rights if right != "all"}
        if kind in ("MERCHANT", "SERVICE"):
            fields["merchants"] = ["merchants/-"] if "all" in rights else [own]
        principal_id, caller = principals.make(kind, **fields)
        owner = {kind.lower(): f"principals/{principal_id}"} if kind in ("PSP", "ACQUIRER") else {}
        ask(client, "CreateMerchant", merchant_id=merchant_id, merchant=owner)
        ask(client, "ActivateMerchant", name=own)
        targets = {"own": own, "other": other, "unknown": unknown, ALL: "merchants/-"}
        made[kind, rights] = Subject(kind, rights, caller, targets)
    return made


@pytest.fixture(scope="module", autouse=True)
def nothing_changed(client: Client, subjects: dict[Any, Subject]) -> Iterator[None]:
    """Also not by calls that were admitted: all were wrong."""
    yield
    for merchant in {subject.merchants[target] for subject in subjects.values() for target in ("own", "other")}:
        assert "2" == ask(client, "GetMerchant", name=merchant).etag
        assert [0] * len(SLOTS) == [
            each.version for each in ask(client, "ListCredentials", parent=merchant).credentials
        ]
        assert [] == list(ask(client, "ListTokens", parent=merchant).tokens)


of_everybody = pytest.mark.parametrize(
    "who", SUBJECTS, ids=[" ".join((kind, *rights)).replace(" ", "+") for kind, rights in SUBJECTS]
)


@of_everybody
def test_the_table_is_what_the_domain_wants(who: tuple[str, tuple[str, ...]]) -> None:
    assert {cell: by_the_domain(*who, cell) for path in PATHS for cell in cells(path)} == {
        cell: by_the_table(*who, cell) for path in PATHS for cell in cells(path)
    }


def test_every_row_of_the_table_is_in_the_matrix() -> None:
    assert set(PERMISSIONS) == {*PATHS, REFLECTION}
    named = {name for rules in RULES.values() for methods in rules.values() for name in methods.split()}
    assert named - {"everything"} <= {Cell(path).method for path in PATHS}
    assert sum(len(cells(path)) for path in PATHS) * len(SUBJECTS) > 1000


@of_everybody
@pytest.mark.parametrize("path", PATHS)
def test_a_call_is_admitted_or_refused_as_the_domain_wants(
    subjects: dict[Any, Subject], who: tuple[str, tuple[str, ...]], path: str
) -> None:
    """What is refused is refused for who calls, and not for what is wrong with the request."""
    subject = subjects[who]
    expected = {cell: by_the_domain(*who, cell) for cell in cells(path)}
    told = {cell: called(subject, cell) for cell in cells(path)}
    assert expected == {cell: came_of(each) for cell, each in told.items()}
    for cell, each in told.items():
        if each is not None and expected[cell] != ADMITTED:
            assert [] == each.fields
        elif each is not None:
            assert each.reason in {"INVALID_FIELD", "NOT_FOUND", "ETAG_MISMATCH", "SLOT_EMPTY", "WRONG_KIND"}


@of_everybody
def test_anothers_merchant_and_an_unknown_one_are_told_apart_by_nothing(
    subjects: dict[Any, Subject], who: tuple[str, tuple[str, ...]]
) -> None:
    """Byte for byte, and whatever the slot."""
    refused = [cell for path in PATHS for cell in cells(path) if by_the_domain(*who, cell) == NOT_OWNER]
    answers = [called(subjects[who], cell) for cell in refused]
    assert len({each.raw for each in answers if each is not None}) <= 1
    assert [] == [cell for cell, each in zip(refused, answers, strict=True) if each is None or not each.raw]
    assert (0 if who[0] in ("ADMIN", "AUDITOR") or "all" in who[1] else 1) == bool(refused)


@of_everybody
def test_each_request_of_a_batch_is_held_to_the_callers_own_by_itself(
    subjects: dict[Any, Subject], who: tuple[str, tuple[str, ...]]
) -> None:
    """One that is answered harms no other, and another's merchant and an unknown one are told apart by nothing."""
    subject = subjects[who]
    requests = [{"name": subject.merchants[target], "message": b"m", "mac": b"mac"} for target in TARGETS]
    if who[0] not in ("ADMIN", "SERVICE"):
        assert DENIED == refused(subject.client, "BatchVerifyHmac", requests=requests).reason
        return
    own, other, unknown = ask(subject.client, "BatchVerifyHmac", requests=requests).results
    alone = {target: refused_alone(subject, each) for target, each in zip(TARGETS, requests, strict=True)}
    assert ("NO_LIVE_KEY", None) == (result_of(own.response), alone["own"])
    if who[0] == "ADMIN" or "all" in who[1]:
        assert ("NO_LIVE_KEY", None) == (result_of(other.response), alone["other"])
        assert alone["unknown"] == unknown.error.SerializeToString()
    else:
        assert other.error.SerializeToString() == unknown.error.SerializeToString() == alone["other"]
        assert alone["other"] == alone["unknown"]
        assert [grpc.StatusCode.PERMISSION_DENIED.value[0]] * 2 == [each.error.code for each in (other, unknown)]


def refused_alone(subject: Subject, fields: dict[str, Any]) -> bytes | None:
    """The same request as a call of its own: the bytes of its refusal, None where it was answered."""
    try:
        ask(subject.client, "VerifyHmac", **fields)
    except grpc.RpcError as error:
        return Refusal(error).raw
    return None


@of_everybody
def test_of_all_merchants_each_is_answered_of_its_own(
    subjects: dict[Any, Subject], who: tuple[str, tuple[str, ...]]
) -> None:
    subject, every = subjects[who], "merchants/-"
    if who[0] == "SERVICE":
        assert DENIED == refused(subject.client, "SummarizeCredentials", parent=every).reason
        return
    counted = ask(subject.client, "SummarizeCredentials", parent=every).merchants
    assert counted > len(SUBJECTS) if who[0] in ("ADMIN", "AUDITOR") else counted == 1


@of_everybody
def test_a_request_that_cannot_be_read_is_not_looked_at_for_those_who_may_not_call(
    subjects: dict[Any, Subject], who: tuple[str, tuple[str, ...]]
) -> None:
    for path in PATHS:
        told = refused_raw(subjects[who].client, path, b"\xff")
        assert ("INVALID_FIELD" if path in grants_of(PrincipalKind(who[0])) else DENIED) == told.reason


@of_everybody
def test_everybody_known_may_ask_for_reflection(subjects: dict[Any, Subject], who: tuple[str, tuple[str, ...]]) -> None:
    assert 1 == len(call_raw(subjects[who].client, REFLECTION, b"\x3a\x01*"))


@pytest.mark.parametrize("service", ["Credential", "Token", "Merchant", "Principal", "Audit"])
def test_a_method_that_does_not_exist_is_unimplemented(client: Client, service: str) -> None:
    told = refused_raw(client, f"/keysvc.v1.{service}Service/ShowSecret", b"")
    assert grpc.StatusCode.UNIMPLEMENTED == told.code
