"""The five keys as `keysvc init` makes them: which they are, what they may do, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, Session
from support.softhsm import Tokens

from keysvc.hsm import keyring, provisioning
from keysvc.hsm.connection import Connection, TokenConfig, log_in
from keysvc.hsm.keys import BoundKey
from keysvc.hsm.lacks import Lack
from keysvc.model.hsm_keys import Purpose

pytestmark = pytest.mark.any_token

USES = (
    Attribute.SIGN,
    Attribute.VERIFY,
    Attribute.ENCRYPT,
    Attribute.DECRYPT,
    Attribute.WRAP,
    Attribute.UNWRAP,
    Attribute.DERIVE,
)
EXPECTED: dict[str, tuple[KeyType, set[Attribute], Mechanism]] = {
    "keysvc-wrapping-1": (KeyType.AES, {Attribute.WRAP, Attribute.UNWRAP}, Mechanism.AES_KEY_WRAP_PAD),
    "keysvc-row-1": (KeyType.GENERIC_SECRET, {Attribute.SIGN}, Mechanism.SHA256_HMAC),
    "keysvc-digest-1": (KeyType.GENERIC_SECRET, {Attribute.SIGN}, Mechanism.SHA256_HMAC),
    "keysvc-audit-1": (KeyType.GENERIC_SECRET, {Attribute.SIGN}, Mechanism.SHA256_HMAC),
    "keysvc-import-1": (KeyType.RSA, {Attribute.UNWRAP}, Mechanism.RSA_PKCS_OAEP),
}
SEALED = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.NEVER_EXTRACTABLE: True,
    Attribute.LOCAL: True,
    Attribute.MODIFIABLE: False,
}
READABLE = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
AS_LENT = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: True}


@pytest.fixture
def blank_session(tokens: Tokens) -> Iterator[Session]:
    """A login to a token without keys, which may write."""
    _, session = log_in(tokens.module, tokens.blank(), writable=True)
    yield session
    session.close()


def token_keys(session: Session) -> dict[str, pkcs11.Object]:
    """Secret and private keys, by label."""
    found = list(session.get_objects({Attribute.TOKEN: True}))
    return {key[Attribute.LABEL]: key for key in found if key.object_class is not ObjectClass.PUBLIC_KEY}


def lent_key(session: Session) -> pkcs11.SecretKey:
    """A session key that may be wrapped."""
    return session.generate_key(
        KeyType.GENERIC_SECRET, 256, mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
        capabilities=MechanismFlag.SIGN, template=AS_LENT,
    )  # fmt: skip


def wrapping_key(connection: Connection) -> BoundKey:
    return connection.token_key(connection.login, Purpose.WRAPPING, 1)


def unwrapped(key: BoundKey, blob: bytes, mechanism: Mechanism, template: dict[Attribute, Any]) -> pkcs11.SecretKey:
    made: pkcs11.SecretKey = key.unwrap_key(
        ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, blob, mechanism=mechanism,
        capabilities=MechanismFlag.SIGN, template=template,
    )  # fmt: skip
    return made


def labels(tokens: Tokens) -> list[str]:
    """The wrapping key's tells by which mechanism it wraps, where that is not the first."""
    return [keyring.label_of(Purpose.WRAPPING, 1, tokens.wrap_by), *list(EXPECTED)[1:]]


def test_init_makes_the_five_keys_once(tokens: Tokens, blank_session: Session) -> None:
    assert labels(tokens) == provisioning.make_missing_keys(blank_session)
    made = {label: key.handle for label, key in token_keys(blank_session).items()}
    assert set(labels(tokens)) == set(made)

    assert [] == provisioning.make_missing_keys(blank_session)
    assert made == {label: key.handle for label, key in token_keys(blank_session).items()}


def test_init_makes_only_what_is_missing(blank_session: Session) -> None:
    provisioning.make_missing_keys(blank_session)
    token_keys(blank_session)["keysvc-digest-1"].destroy()
    assert ["keysvc-digest-1"] == provisioning.make_missing_keys(blank_session)


@pytest.mark.parametrize("label", EXPECTED)
def test_a_token_key_has_its_one_use_and_never_leaves(tokens: Tokens, connection: Connection, label: str) -> None:
    key_type, uses, mechanism = EXPECTED[label]
    key = token_keys(connection.login)[dict(zip(EXPECTED, labels(tokens), strict=True))[label]]
    assert SEALED == {attribute: key[attribute] for attribute in SEALED}
    assert key_type is key[Attribute.KEY_TYPE]
    if Lack.ALLOWED_MECHANISMS not in tokens.lacking:
        assert (int(mechanism),) == key[Attribute.ALLOWED_MECHANISMS]
    assert uses == {use for use in USES if has(key, use)}
    with pytest.raises(pkcs11.AttributeSensitive):
        key[Attribute.PRIVATE_EXPONENT if key_type is KeyType.RSA else Attribute.VALUE]


def has(key: pkcs11.Object, use: Attribute) -> bool:
    try:
        return bool(key[use])
    except pkcs11.AttributeTypeInvalid:
        return False


def test_the_wrapping_key_is_aes_256_and_the_import_key_rsa_3072(tokens: Tokens, connection: Connection) -> None:
    assert 256 // 8 == token_keys(connection.login)[labels(tokens)[0]][Attribute.VALUE_LEN]
    assert 3072 == 8 * len(connection.keyring.import_public_numbers[0])


@pytest.mark.softhsm
@pytest.mark.parametrize(
    "template",
    [READABLE, AS_LENT, {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: False}],
    ids=["readable", "extractable", "not-sensitive"],
)
def test_the_wrapping_key_unwraps_nothing_that_could_be_read(
    connection: Connection, template: dict[Attribute, Any]
) -> None:
    key = wrapping_key(connection)
    blob = key.wrap_key(lent_key(connection.login), mechanism=Mechanism.AES_KEY_WRAP_PAD)
    with pytest.raises(pkcs11.PKCS11Error):
        unwrapped(key, blob, Mechanism.AES_KEY_WRAP_PAD, template)


@pytest.mark.softhsm
def test_the_wrapping_key_wraps_by_its_one_mechanism(connection: Connection) -> None:
    with pytest.raises(pkcs11.MechanismInvalid):
        wrapping_key(connection).wrap_key(lent_key(connection.login), mechanism=Mechanism.AES_KEY_WRAP)


def test_the_wrapping_key_decrypts_nothing(connection: Connection) -> None:
    """A wrapped key would come out readable."""
    with pytest.raises(pkcs11.PKCS11Error):
        wrapping_key(connection).decrypt(bytes(32), mechanism=Mechanism.AES_ECB)


def test_the_import_key_decrypts_nothing(connection: Connection) -> None:
    key = connection.token_key(connection.login, Purpose.IMPORT, 1)
    with pytest.raises(pkcs11.PKCS11Error):
        key.decrypt(bytes(384), mechanism=Mechanism.RSA_PKCS_OAEP)


def test_keys_of_other_programs_are_left_alone(tokens: Tokens, blank_session: Session) -> None:
    blank_session.generate_key(KeyType.AES, 128, label="of-another", store=True)
    provisioning.make_missing_keys(blank_session)
    assert {1} == set(keyring.load(blank_session, tokens.lacking).handles[Purpose.WRAPPING])
    assert "of-another" in token_keys(blank_session)


def test_the_newest_generation_makes_and_the_older_ones_go_on(tokens: Tokens) -> None:
    config: TokenConfig = tokens.with_keys()
    _, session = log_in(tokens.module, config, writable=True)
    provisioning.generate(session, keyring.SPECS[Purpose.ROW].without(tokens.lacking), "keysvc-row-2")
    session.close()

    token = tokens.open(config)
    assert (2, 1) == (token.newest(Purpose.ROW), token.newest(Purpose.DIGEST))
    digests = {token.keyed_digest(Purpose.ROW, generation, b"row") for generation in (1, 2)}
    assert 2 == len(digests)
    with pytest.raises(KeyError):
        token.keyed_digest(Purpose.ROW, 3, b"row")
    token.close()
