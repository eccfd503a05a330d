"""Merchants' keys while they are used: as session objects that stay in the token (decision 0012)."""

from __future__ import annotations

import hashlib
import hmac

import pkcs11
import pytest
from pkcs11 import Attribute
from support.softhsm import Tokens
from support.wrapped import stored

from keysvc.hsm import attributes, operations
from keysvc.hsm.connection import Connection, TokenConfig, connect
from keysvc.hsm.keys import KeyShape
from keysvc.model.slots import HmacAlgorithm

pytestmark = pytest.mark.any_token

SHAPES = [KeyShape(HmacAlgorithm.HMAC_SHA256), KeyShape(None)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_key_in_use_leaves_the_token_in_no_form(connection: Connection, shape: KeyShape) -> None:
    worker = connection.open_worker()
    key = connection.unwrap(stored(operations.generate(connection, worker, shape, None), shape))
    asked = (Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.TOKEN, Attribute.PRIVATE)
    assert [True, False, False, False] == [key[attribute] for attribute in asked]
    with pytest.raises(pkcs11.PKCS11Error):
        key[Attribute.VALUE]


@pytest.mark.softhsm
def test_a_token_that_insists_on_private_keys_is_given_them(
    tokens: Tokens, shared_config: TokenConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SoftHSM does not insist: here it is asked for what it refuses."""
    refused = {**attributes.IN_USE, Attribute.LOCAL: True}
    monkeypatch.setattr(attributes, "IN_USE", refused)
    connection = connect(tokens.module, shared_config)
    try:
        worker = connection.open_worker()
        new = operations.generate(connection, worker, SHAPES[0], None)
        key = stored(new, SHAPES[0])
        assert connection.unwrap(key)[Attribute.PRIVATE]
        assert new.plain is not None
        assert hmac.digest(new.plain, b"m", hashlib.sha256) == operations.hmac(connection, worker, key, b"m")
    finally:
        connection.close()
