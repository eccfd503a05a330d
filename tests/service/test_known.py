"""What is worked out of a principal once it has proved who it is."""

from __future__ import annotations

from datetime import UTC, datetime

from keysvc.model.permissions import Grant
from keysvc.model.principals import ALL_MERCHANTS, PrincipalKind, PrincipalRecord, PrincipalState
from keysvc.service.known import Known

VERIFY = "/keysvc.v1.CredentialService/VerifyHmac"


def known(*merchants: str) -> Known:
    return Known.of(
        PrincipalRecord(
            principal_id="checker", kind=PrincipalKind.SERVICE, state=PrincipalState.ACTIVE, password_digest=b"",
            digest_generation=1, create_time=datetime(2026, 1, 1, tzinfo=UTC), revision=1, merchants=merchants,
        )
    )  # fmt: skip


def test_a_principal_lists_the_merchants_that_it_names_and_no_other() -> None:
    assert frozenset({"m", "n"}) == known("m", "n").merchants
    assert frozenset() == known().merchants


def test_all_merchants_are_listed_by_the_one_sign_for_them_alone() -> None:
    assert known(ALL_MERCHANTS).merchants is None
    assert frozenset({ALL_MERCHANTS, "n"}) == known(ALL_MERCHANTS, "n").merchants


def test_it_has_a_name_and_what_its_kind_is_granted() -> None:
    assert ("principals/checker", Grant.OWN) == (known().name, known().grants[VERIFY])
