"""What a token may lack where it is allowed, and that this changes nothing for a token that lacks nothing."""

from __future__ import annotations

from dataclasses import replace

import pkcs11
import pytest
from pkcs11 import Attribute
from support.softhsm import Tokens

from keysvc.hsm import attributes, keyring, lacks, offers, provisioning, wrapping
from keysvc.hsm.connection import Connection, log_in
from keysvc.hsm.lacks import Lack
from keysvc.hsm.offers import Offers
from keysvc.hsm.wrapping import Wrap
from keysvc.model.errors import Misconfigured
from keysvc.model.hsm_keys import Purpose

ALL = frozenset(Lack)


def test_softhsm_lacks_nothing_and_is_left_as_it_was(connection: Connection) -> None:
    def objects() -> int:
        return len(list(connection.login.get_objects()))

    before = objects()
    assert Offers(Wrap.KEY_WRAP_PAD, trusts=True, lacking=frozenset()) == offers.tried(connection.login)
    assert before == objects()


@pytest.mark.parametrize(
    ("purpose", "lacking", "named"),
    [
        (Purpose.WRAPPING, Lack.UNWRAP_TEMPLATE, "CKA_UNWRAP_TEMPLATE"),
        (Purpose.ROW, Lack.ALLOWED_MECHANISMS, "CKA_ALLOWED_MECHANISMS"),
    ],
)
def test_what_the_token_has_is_insisted_on_though_it_is_allowed_to_lack(
    tokens: Tokens, purpose: Purpose, lacking: Lack, named: str
) -> None:
    config = replace(tokens.blank(), allowed=ALL)
    _, session = log_in(tokens.module, config, writable=True)
    provisioning.generate(session, keyring.SPECS[purpose].without(frozenset({lacking})), f"keysvc-{purpose}-1")
    provisioning.make_missing_keys(session)
    session.close()
    with pytest.raises(Misconfigured, match=rf"keysvc-{purpose}-1 is weaker.*{named}"):
        tokens.open(config)


@pytest.mark.parametrize("lacking", [{Lack.UNWRAP_TEMPLATE}, {Lack.ALLOWED_MECHANISMS}], ids=["template", "mechanisms"])
def test_what_is_lacking_is_left_out_and_nothing_more(lacking: set[Lack]) -> None:
    whole = keyring.SPECS[Purpose.WRAPPING].template()
    left_out = whole.keys() - keyring.SPECS[Purpose.WRAPPING].without(frozenset(lacking)).template().keys()
    places = {Lack.UNWRAP_TEMPLATE: Attribute.UNWRAP_TEMPLATE, Lack.ALLOWED_MECHANISMS: Attribute.ALLOWED_MECHANISMS}
    assert {places[lack] for lack in lacking} == left_out


@pytest.mark.parametrize(
    ("words", "read"),
    [("", set()), ("anchor", {Lack.ANCHOR}), (" anchor , encryption,", {Lack.ANCHOR, Lack.ENCRYPTION})],
)
def test_the_setting_is_words_with_commas(words: str, read: set[Lack]) -> None:
    assert read == lacks.read(words)


def test_a_wrong_word_is_refused_with_the_right_ones() -> None:
    with pytest.raises(Misconfigured, match=r"KEYSVC_ALLOW_LACKS has anchors, all: ") as refused:
        lacks.read("anchors,encryption,all")
    assert [lack for lack in Lack if lack not in refused.value.message] == []


def test_a_refusal_names_what_is_lacking_and_the_setting_that_would_allow_all_of_it() -> None:
    with pytest.raises(Misconfigured) as refused:
        lacks.require_allowed({Lack.ENCRYPTION, Lack.UNWRAP_TEMPLATE}, frozenset({Lack.ANCHOR, Lack.ENCRYPTION}))
    message = refused.value.message
    assert "lacks unwrap-template: " in message
    assert "encryption: " not in message
    assert "KEYSVC_ALLOW_LACKS=unwrap-template,encryption,anchor " in message
    lacks.require_allowed({Lack.ENCRYPTION}, ALL)


def test_a_key_that_cannot_be_sealed_after_it_was_unwrapped_is_destroyed(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is after unwrapping is read back, since such a token says yes and does otherwise."""
    out = connection.login.create_object(attributes.secret_key_object(pkcs11.KeyType.GENERIC_SECRET, bytes(32)))
    monkeypatch.setattr(wrapping, "as_asked", lambda *_: out)
    asked = wrapping.Wrapped(
        pkcs11.KeyType.GENERIC_SECRET,
        b"",
        pkcs11.Mechanism.AES_KEY_WRAP_PAD,
        None,
        attributes.NO_CAPABILITY,
        attributes.IN_TRANSIT_SHOWN,
    )
    with pytest.raises(pkcs11.PKCS11Error):
        wrapping.then_sealed(connection.token_key(connection.login, Purpose.WRAPPING, 1), asked)
    with pytest.raises(pkcs11.ObjectHandleInvalid):
        out[Attribute.CLASS]
