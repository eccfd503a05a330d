"""The search of a fuzz run finds its word in each form, and knows where the word may stand."""

from __future__ import annotations

import base64

import pytest

from endurance import planted
from endurance.contract import CODES, rpcs
from keysvc.v1 import credential_service_pb2 as pb


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
def test_the_word_is_found_wherever_it_stands_in_base64(before: bytes) -> None:
    assert planted.stands_in(base64.b64encode(before + planted.WORD + b"after"))


@pytest.mark.parametrize("form", [planted.KEY, planted.KEY.hex().encode(), planted.PASSWORD.encode()])
def test_the_word_is_found_in_each_secret(form: bytes) -> None:
    assert planted.stands_in(b"before " + form + b" after")
    assert not planted.stands_in(b"before " + form[:10] + b" after")


def test_the_word_may_stand_in_secret_fields_only() -> None:
    right = pb.ImportCredentialRequest(name="merchants/m", secret=planted.TEXT)
    wrong = pb.ImportCredentialRequest(name="merchants/m", request_id=planted.KEY.hex(), secret=planted.TEXT)
    assert [False, True] == [
        planted.strayed(pb.ImportCredentialRequest, request.SerializeToString()) for request in (right, wrong)
    ]


def test_every_rpc_has_its_documented_reasons() -> None:
    documented = {str(rpc): rpc.reasons for rpc in rpcs()}
    assert {"SLOT_EMPTY", "ETAG_MISMATCH", "UNAUTHENTICATED"} <= documented["CredentialService/RenewCredential"]
    assert "SLOT_EMPTY" not in documented["CredentialService/CreateCredential"]
    assert "LAST_ADMIN" in documented["PrincipalService/DisablePrincipal"]
    assert set(CODES) == set().union(*documented.values())
