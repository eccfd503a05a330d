"""The rules of agreeing to another token key, and its names."""

from __future__ import annotations

import pytest

from keysvc.model.errors import HsmKeyStateWrong, InvalidField, PermissionDenied
from keysvc.model.hsm_keys import (
    HsmKeyRecord,
    HsmKeyState,
    Purpose,
    hsm_key_name,
    parse_hsm_key,
    require_approvable,
    require_withdrawable,
)
from keysvc.model.names import is_name


def key(state: HsmKeyState) -> HsmKeyRecord:
    return HsmKeyRecord(purpose=Purpose.ROW, generation=2, state=state, requester="alice")


@pytest.mark.parametrize("purpose", Purpose)
def test_a_name_is_read_as_it_is_written(purpose: Purpose) -> None:
    name = hsm_key_name(purpose, 12)
    assert (purpose, 12) == parse_hsm_key(name)
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "row-2", "hsmKeys/", "hsmKeys/row", "hsmKeys/row-", "hsmKeys/row-x", "hsmKeys/row--2", "hsmKeys/other-2",
     "hsmKeys/row-1234567", "hsmKeys/row-٢", "principals/row-2", "hsmKeys/row-2/x"],
)  # fmt: skip
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidField, match="as ListHsmKeys names them"):
        parse_hsm_key(name)


def test_another_administrator_may_approve_what_is_requested() -> None:
    require_approvable(key(HsmKeyState.REQUESTED), "bob")


def test_nobody_agrees_with_itself() -> None:
    with pytest.raises(PermissionDenied, match="another administrator has to approve it"):
        require_approvable(key(HsmKeyState.REQUESTED), "alice")


@pytest.mark.parametrize("state", [state for state in HsmKeyState if state is not HsmKeyState.REQUESTED])
def test_nothing_else_is_approved(state: HsmKeyState) -> None:
    with pytest.raises(HsmKeyStateWrong, match=f"hsmKeys/row-2 is {state}"):
        require_approvable(key(state), "bob")


@pytest.mark.parametrize("state", HsmKeyState)
def test_only_what_is_not_in_use_is_withdrawn(state: HsmKeyState) -> None:
    if state in (HsmKeyState.REQUESTED, HsmKeyState.APPROVED):
        require_withdrawable(key(state))
        return
    with pytest.raises(HsmKeyStateWrong):
        require_withdrawable(key(state))
