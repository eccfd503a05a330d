"""openCryptoki's software token: what it lacks and does otherwise, and that keysvc's keys are safe with it even so."""

from __future__ import annotations

import contextlib
import hmac
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pkcs11
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from pkcs11 import Attribute, Mechanism, MechanismFlag, Session
from support.softhsm import Tokens
from support.wrapped import AES, SHA256, adopted, stored

from keysvc.hsm import attributes, offers, operations, provisioning
from keysvc.hsm.connection import Connection, TokenConfig, log_in
from keysvc.hsm.keys import WrappedKey
from keysvc.hsm.lacks import Lack
from keysvc.hsm.offers import Offers
from keysvc.hsm.operations import UnusableKey
from keysvc.hsm.token import Token
from keysvc.hsm.wrapping import Wrap, as_asked
from keysvc.model.errors import HsmUnavailable, Misconfigured, TokenLacks
from keysvc.model.slots import HmacAlgorithm

pytestmark = pytest.mark.opencryptoki

KEY = bytes(range(32))
MAC = hmac.digest(KEY, b"order 1", "sha256")
LACKING = frozenset({Lack.UNWRAP_TEMPLATE, Lack.ALLOWED_MECHANISMS, Lack.ENCRYPTION})
OAEP_SHA1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


def test_what_it_offers(connection: Connection) -> None:
    assert Offers(Wrap.CBC_PAD, trusts=False, lacking=LACKING) == offers.tried(connection.login)


@pytest.mark.parametrize("lack", sorted(LACKING))
def test_neither_init_nor_a_start_takes_what_is_not_allowed(
    tokens: Tokens, shared_config: TokenConfig, lack: Lack
) -> None:
    config = replace(shared_config, allowed=LACKING - {lack})
    with pytest.raises(Misconfigured, match=rf"lacks {lack}: .*KEYSVC_ALLOW_LACKS="):
        provisioning.make_missing(tokens.module, config, None)
    with pytest.raises(Misconfigured, match=rf"lacks {lack}: .*KEYSVC_ALLOW_LACKS="):
        tokens.open(config)
    tokens.open(shared_config).close()


def test_a_refused_init_makes_no_key(tokens: Tokens) -> None:
    config = tokens.blank()
    with pytest.raises(Misconfigured, match=r"unwrap-template: .*allowed-mechanisms: .*encryption: "):
        provisioning.make_missing(tokens.module, replace(config, allowed=frozenset()), None)
    _, session = log_in(tokens.module, config, writable=False)
    assert [] == list(session.get_objects({Attribute.TOKEN: True}))
    session.close()


def test_its_wrapping_keys_are_not_trusted_whoever_asks(tokens: Tokens) -> None:
    made = provisioning.make_missing(tokens.module, tokens.blank(), "so-pin-1")
    assert ("keysvc-wrapping-1-aes-cbc-pad", True) == (made.labels[0], made.wrapping_key_stays)


def test_it_unwraps_readable_keys_whatever_is_asked_so_they_are_sealed_after(
    token: Token, connection_of: Connection
) -> None:
    """PKCS#11 2.40 section 5.14 has C_UnwrapKey make what the template says."""
    key, wrapping = adopted(token, KEY), connection_of.wrapping_key(1)
    asked = (key.shape, key.material, attributes.IN_USE, MechanismFlag.SIGN)
    out = replace(wrapping, take_out=as_asked).unwrap(connection_of.holder, *asked)
    assert KEY == out[Attribute.VALUE]
    out.destroy()

    sealed = wrapping.unwrap(connection_of.holder, *asked)
    assert (True, False) == (sealed[Attribute.SENSITIVE], sealed[Attribute.EXTRACTABLE])
    for weaker in (attributes.IN_TRANSIT_SHOWN, {Attribute.SENSITIVE: False}, {Attribute.EXTRACTABLE: True}):
        for name, value in weaker.items():
            if sealed[name] != value:
                with pytest.raises(pkcs11.PKCS11Error):
                    sealed[name] = value
    with pytest.raises(pkcs11.AttributeSensitive):
        sealed[Attribute.VALUE]
    sealed.destroy()


@pytest.fixture
def connection_of(token: Token) -> Connection:
    return token._sessions.connection


def test_every_blob_has_an_iv_of_its_own(token: Token) -> None:
    blobs = [adopted(token, KEY).material for _ in range(50)]
    assert {Wrap.CBC_PAD.size(32)} == {len(blob) for blob in blobs}
    assert 50 == len({blob[:16] for blob in blobs}) == len({blob[16:] for blob in blobs})


@pytest.mark.parametrize("place", [0, 15, 16, 40], ids=["iv", "end of iv", "first block", "later"])
def test_an_altered_blob_is_another_key_or_none(token: Token, place: int) -> None:
    """AES_CBC_PAD notices little, so nothing may be unwrapped before the row's MAC was checked."""
    key = adopted(token, KEY)
    altered = bytearray(key.material)
    altered[place] ^= 1
    with contextlib.suppress(HsmUnavailable):
        assert MAC != token.hmac(WrappedKey("altered", SHA256, bytes(altered), 1), b"order 1")
    assert MAC == token.hmac(key, b"order 1")


def test_it_says_that_it_cannot_encrypt_and_goes_on(token: Token) -> None:
    key = adopted(token, KEY, AES)
    sealed = token.import_public_key().encrypt(KEY, OAEP_SHA1)
    for ask in (
        lambda: token.encrypt(key, b"plain", b""),
        lambda: token.decrypt(key, bytes(40), b""),
        lambda: token.adopt_sealed(AES, sealed),
    ):
        with pytest.raises(TokenLacks, match="AES-GCM"):
            ask()
    assert MAC == token.hmac(adopted(token, KEY), b"order 1")


@pytest.mark.parametrize("algorithm", HmacAlgorithm)
@pytest.mark.parametrize("size", [1, 16, 19, 20, 31, 63, 65, 131])
def test_a_sealed_key_of_any_length_macs_rightly_or_is_refused(
    token: Token, algorithm: HmacAlgorithm, size: int
) -> None:
    """It uses short keys too, and AES_CBC_PAD keeps their length."""
    shape, key = replace(SHA256, algorithm=algorithm), b"k" * size
    try:
        new = token.adopt_sealed(shape, token.import_public_key().encrypt(key, OAEP_SHA1))
    except UnusableKey:
        return
    assert hmac.digest(key, b"order 1", algorithm.hash_name) == token.hmac(stored(new, shape), b"order 1")


def test_what_is_sealed_is_not_readable_on_its_way(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its template may not ask for an extractable key: it is one, and is made sensitive at once."""
    sealed = connection.keyring.import_public_key().encrypt(KEY, OAEP_SHA1)
    wrap, seen = operations.wrap, list[bool]()

    def watched(connection: Connection, session: Session, key: pkcs11.Object) -> tuple[int, bytes]:
        seen.append(key[Attribute.SENSITIVE])
        return wrap(connection, session, key)

    monkeypatch.setattr(operations, "wrap", watched)
    key = stored(operations.adopt_sealed(connection, connection.login, SHA256, sealed), SHA256)
    assert MAC == operations.hmac(connection, connection.login, key, b"order 1")
    assert [True] == seen


def test_many_threads_over_a_small_cache(tokens: Tokens, shared_config: TokenConfig) -> None:
    token = tokens.open(replace(shared_config, handle_cache=3))
    values = [bytes([number]) * 32 for number in range(8)]
    keys = {value: adopted(token, value) for value in values}

    def work(start: int) -> int:
        turns = [values[(start + step) % len(values)] for step in range(100)]
        return sum(hmac.digest(v, b"order 1", "sha256") == token.hmac(keys[v], b"order 1") for v in turns)

    with ThreadPoolExecutor(8) as threads:
        assert [100] * 8 == list(threads.map(work, range(8)))
    token.close()


def test_another_process_uses_the_same_keys_at_the_same_time(token: Token, shared_config: TokenConfig) -> None:
    key = adopted(token, KEY)
    program = (
        "import sys; from support import opencryptoki; from support.wrapped import SHA256, adopted;"
        "from dataclasses import replace; from keysvc.hsm.keys import WrappedKey;"
        "tokens = opencryptoki.tokens(); token = tokens.open(replace(tokens.blank(), label=sys.argv[1]));"
        "key = WrappedKey('k', SHA256, bytes.fromhex(sys.argv[2]), 1);"
        "print(token.hmac(key, b'order 1').hex(), adopted(token, bytes(range(32))).material.hex()); token.close()"
    )
    arguments = [sys.executable, "-c", program, shared_config.label, key.material.hex()]
    done = subprocess.run(
        arguments, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, check=True
    )
    mac, material = (bytes.fromhex(text) for text in done.stdout.decode().split())
    assert MAC == mac == token.hmac(WrappedKey("theirs", SHA256, material, 1), b"order 1")
    assert token.heal() is None


def test_its_mechanisms_are_what_the_documents_say(connection: Connection) -> None:
    found = connection.token.slot.get_mechanisms()
    assert Mechanism.AES_CBC_PAD in found
    assert {Mechanism.AES_KEY_WRAP_PAD, Mechanism.AES_KEY_WRAP, Mechanism.AES_GCM}.isdisjoint(found)
