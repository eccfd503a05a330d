"""Which rights are for which kind of principal, and what is a SPIFFE id."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keysvc.model.errors import InvalidField
from keysvc.model.principals import (
    MAX_MERCHANTS,
    PrincipalKind,
    PrincipalRecord,
    PrincipalState,
    check_rights,
    check_spiffe_id,
)

ADMIN, PSP, ACQUIRER, MERCHANT, SERVICE, AUDITOR = PrincipalKind
SET: dict[str, Any] = {
    "merchants": ("m",),
    "can_edit_credentials": True,
    "remote_access": True,
    "can_sign": True,
}
MAY_HAVE: dict[PrincipalKind, set[str]] = {
    ADMIN: set(),
    PSP: {"can_edit_credentials", "remote_access"},
    ACQUIRER: {"can_edit_credentials", "remote_access"},
    MERCHANT: {"merchants", "can_edit_credentials"},
    SERVICE: {"merchants", "can_sign"},
    AUDITOR: set(),
}
"""As the issue has it: an ADMIN and an AUDITOR have all of theirs by their kind."""

GOOD_IDS = [
    "spiffe://example.org/a",
    "spiffe://example.org/billing/eu-1/Worker_7.v2",
    "spiffe://a/b",
    "spiffe://trust_domain-1.internal/ns/default/sa/billing",
    "spiffe://10.0.0.1/a",
    "spiffe://example.org/...",
    "spiffe://example.org/.hidden",
    "spiffe://example.org/a..b",
    "spiffe://" + "d" * 255 + "/a",
    "spiffe://example.org/" + "x" * (2048 - len("spiffe://example.org/")),
]
BAD_IDS = {
    "nothing": "",
    "no path": "spiffe://example.org",
    "an empty path": "spiffe://example.org/",
    "no trust domain": "spiffe:///a",
    "a trailing slash": "spiffe://example.org/a/",
    "an empty segment": "spiffe://example.org/a//b",
    "an empty first segment": "spiffe://example.org//a",
    "a segment of one dot": "spiffe://example.org/a/./b",
    "a segment of two dots": "spiffe://example.org/a/../b",
    "two dots first": "spiffe://example.org/../a",
    "two dots last": "spiffe://example.org/a/..",
    "an upper-case trust domain": "spiffe://Example.org/a",
    "an upper-case scheme": "SPIFFE://example.org/a",
    "another scheme": "https://example.org/a",
    "a scheme that only ends so": "xspiffe://example.org/a",
    "a query": "spiffe://example.org/a?b=c",
    "an empty query": "spiffe://example.org/a?",
    "a fragment": "spiffe://example.org/a#b",
    "percent-encoding": "spiffe://example.org/%61",
    "a percent-encoded slash": "spiffe://example.org/a%2Fb",
    "percent-encoding in the trust domain": "spiffe://example%2Eorg/a",
    "a port": "spiffe://example.org:443/a",
    "user information": "spiffe://user@example.org/a",
    "a letter that is not ASCII": "spiffe://example.org/zoë",
    "a trust domain that is not ASCII": "spiffe://exämple.org/a",
    "a digit that is not ASCII": "spiffe://example.org/\u0661",
    "a blank": "spiffe://example.org/a b",
    "a blank before it": " spiffe://example.org/a",
    "a line's end after it": "spiffe://example.org/a\n",
    "a second line": "spiffe://example.org/a\nspiffe://example.org/b",
    "a NUL": "spiffe://example.org/a\0",
    "two ids": "spiffe://example.org/a,spiffe://example.org/b",
    "a backslash": "spiffe://example.org\\a",
    "one slash only": "spiffe:/example.org/a",
    "no scheme": "example.org/a",
    "a trust domain of 256 letters": "spiffe://" + "d" * 256 + "/a",
    "2049 bytes": "spiffe://example.org/" + "x" * (2049 - len("spiffe://example.org/")),
    "a megabyte": "spiffe://example.org" + "/x" * 500_000,
}


def principal(kind: PrincipalKind, **rights: Any) -> PrincipalRecord:
    record = PrincipalRecord(
        principal_id="p", kind=kind, state=PrincipalState.ACTIVE, password_digest=b"", digest_generation=1,
        create_time=datetime(2026, 7, 1, tzinfo=UTC), revision=1,
    )  # fmt: skip
    return replace(record, **rights)


def refused(record: PrincipalRecord) -> str:
    """The field that is refused, or nothing."""
    try:
        check_rights(record)
    except InvalidField as error:
        return error.field
    return ""


@pytest.mark.parametrize("kind", PrincipalKind)
@pytest.mark.parametrize("right", SET)
def test_a_right_is_for_the_kinds_that_may_have_it_and_no_other(kind: PrincipalKind, right: str) -> None:
    expected = "" if right in MAY_HAVE[kind] else f"principal.{right}"
    assert expected == refused(principal(kind, **{right: SET[right]}))


@pytest.mark.parametrize("kind", PrincipalKind)
def test_every_kind_may_have_all_of_its_rights_at_once_or_none(kind: PrincipalKind) -> None:
    assert "" == refused(principal(kind, **{right: SET[right] for right in MAY_HAVE[kind]}))
    assert "" == refused(principal(kind))


@given(st.sampled_from(PrincipalKind), st.sets(st.sampled_from(sorted(SET))))
def test_one_right_too_many_among_any_others_is_refused(kind: PrincipalKind, rights: set[str]) -> None:
    too_many = {f"principal.{right}" for right in rights - MAY_HAVE[kind]}
    found = refused(principal(kind, **{right: SET[right] for right in rights}))
    assert found in (too_many or {""})


@pytest.mark.parametrize("kind", PrincipalKind)
@pytest.mark.parametrize("listed", [("-",), ("-", "m"), ("m", "-"), ("-", "-")])
def test_all_merchants_stand_alone_and_for_a_service_only(kind: PrincipalKind, listed: tuple[str, ...]) -> None:
    expected = "" if kind is SERVICE and listed == ("-",) else "principal.merchants"
    assert expected == refused(principal(kind, merchants=listed))


@pytest.mark.parametrize("kind", [MERCHANT, SERVICE])
def test_a_list_has_a_largest_size(kind: PrincipalKind) -> None:
    listed = tuple(f"m-{number}" for number in range(MAX_MERCHANTS + 1))
    assert "" == refused(principal(kind, merchants=listed[:-1]))
    assert "principal.merchants" == refused(principal(kind, merchants=listed))


def test_a_refusal_says_which_right_and_which_kind() -> None:
    with pytest.raises(InvalidField) as told:
        check_rights(principal(AUDITOR, can_sign=True))
    assert "principal.can_sign: is not for a principal of kind AUDITOR" == told.value.message


def test_only_an_active_principal_is_active() -> None:
    states = {state: principal(ADMIN, state=state).active for state in PrincipalState}
    assert {PrincipalState.ACTIVE: True, PrincipalState.DISABLED: False} == states


@pytest.mark.parametrize("value", GOOD_IDS, ids=lambda value: value[:60])
def test_a_spiffe_id_is_taken_as_it_is(value: str) -> None:
    assert value == check_spiffe_id(value, "principal.spiffe_id")


@pytest.mark.parametrize("value", BAD_IDS.values(), ids=BAD_IDS)
def test_what_is_no_spiffe_id_of_a_workload_is_refused_by_its_field(value: str) -> None:
    with pytest.raises(InvalidField) as told:
        check_spiffe_id(value, "principal.spiffe_id")
    assert "principal.spiffe_id" == told.value.field
    assert "principal.spiffe_id: must be spiffe://{trust domain}/{path}" == told.value.message


@given(st.text(alphabet="aA.-_/%?#:@ \n", max_size=20))
def test_a_path_is_taken_only_where_every_segment_is_one(path: str) -> None:
    right = all(segment.strip("aA.-_") == "" and segment not in ("", ".", "..") for segment in path.split("/"))
    try:
        check_spiffe_id(f"spiffe://example.org/{path}", "field")
        taken = True
    except InvalidField:
        taken = False
    assert right is taken
