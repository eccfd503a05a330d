"""What a token may lack where it is allowed, and that this changes nothing for a token that lacks nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, Mechanism, Session
from support.softhsm import Tokens

from keysvc.hsm import anchor, attributes, keyring, lacks, offers, provisioning, wrapping
from keysvc.hsm.connection import Connection, log_in
from keysvc.hsm.keys import BoundKey
from keysvc.hsm.lacks import Lack
from keysvc.hsm.offers import Offers
from keysvc.hsm.wrapping import Wrap, WrappingKey
from keysvc.model.errors import Misconfigured
from keysvc.model.hsm_keys import Purpose

ALL = frozenset(Lack)


def test_softhsm_lacks_nothing_and_is_left_as_it_was(connection: Connection) -> None:
    def objects() -> int:
        return len(list(connection.login.get_objects()))

    before = objects()
    assert Offers(Wrap.KEY_WRAP_PAD, trusts=True, lacking=frozenset()) == offers.tried(connection.login)
    assert before == objects()


class SignsByAny(BoundKey):
    """A key that keeps its list of mechanisms, and not to it."""

    def sign(self, data: bytes, **_: Any) -> bytes:
        made: bytes = super().sign(data, mechanism=Mechanism.SHA256_HMAC)
        return made


class UnwrapsReadable(WrappingKey):
    """A key that unwraps others readable where they are asked to be sealed, and refuses to where that is asked."""

    def unwrap(self, session: Session, *asked: Any) -> Any:
        if self.take_out is wrapping.then_sealed:
            return super().unwrap(session, *asked)
        if asked[2] == attributes.IN_TRANSIT_SHOWN:
            raise pkcs11.TemplateInconsistent
        return readable(session)


class UnwrapsReadableWhereAsked(WrappingKey):
    """A key whose unwrap template does nothing."""

    def unwrap(self, session: Session, *asked: Any) -> Any:
        return readable(session) if asked[2] == attributes.IN_TRANSIT_SHOWN else super().unwrap(session, *asked)


def readable(session: Session) -> pkcs11.Object:
    key = attributes.secret_key_object(pkcs11.KeyType.GENERIC_SECRET, bytes(32))
    return session.create_object({**key, **attributes.IN_TRANSIT_SHOWN})


class UnwrapsAnother(WrappingKey):
    """A key that unwraps others than it wrapped."""

    def unwrap(self, session: Session, *_: Any) -> Any:
        return session.create_object(attributes.signing_key_object(bytes(32), attributes.IN_USE))


class WrapsWhatIsForOthers(WrappingKey):
    """A key that nobody trusts, and that wraps even so."""

    def wrap(self, session: Session, key: pkcs11.Object) -> bytes:
        return b"" if key[Attribute.WRAP_WITH_TRUSTED] else super().wrap(session, key)


@pytest.mark.parametrize(
    ("part", "lie", "found"),
    [
        ("BoundKey", SignsByAny, Offers(Wrap.KEY_WRAP_PAD, True, frozenset({Lack.ALLOWED_MECHANISMS}))),
        ("WrappingKey", UnwrapsReadable, Offers(Wrap.KEY_WRAP_PAD, True, frozenset({Lack.UNWRAP_TEMPLATE}))),
        ("WrappingKey", UnwrapsReadableWhereAsked, Offers(Wrap.KEY_WRAP_PAD, True, frozenset({Lack.UNWRAP_TEMPLATE}))),
        ("WrappingKey", WrapsWhatIsForOthers, Offers(Wrap.KEY_WRAP_PAD, False, frozenset())),
    ],
)
def test_a_token_that_takes_what_it_is_told_and_does_otherwise_lacks_it(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, part: str, lie: type, found: Offers
) -> None:
    monkeypatch.setattr(offers, part, lie)
    assert found == offers.tried(connection.login)


def test_a_list_of_mechanisms_that_cannot_be_read_back_is_none(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start could not tell a right key from a weaker one."""
    monkeypatch.setattr(attributes, "_unpack_mechanisms", lambda _: ())
    session = connection.token.open(attribute_mapper=attributes.Mapper())
    assert frozenset({Lack.ALLOWED_MECHANISMS}) == offers.tried(session).lacking
    session.close()


def test_a_token_that_unwraps_another_key_is_not_used(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "WrappingKey", UnwrapsAnother)
    with pytest.raises(Misconfigured, match="neither by CKM_AES_KEY_WRAP_PAD nor CKM_AES_CBC_PAD"):
        offers.tried(connection.login)


def test_a_token_that_is_gone_lacks_nothing_but_is_gone(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a cut-off token would be refused as one that cannot do its work."""

    def gone(*_: Any, **__: Any) -> None:
        raise pkcs11.DeviceRemoved

    monkeypatch.setattr(BoundKey, "encrypt", gone)
    with pytest.raises(pkcs11.DeviceRemoved):
        offers.tried(connection.login)


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


def test_a_token_that_keeps_no_anchor_is_refused_at_init_unless_that_is_allowed(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor, "lacking", lambda _session: "it stores none")
    config = tokens.blank()
    with pytest.raises(Misconfigured, match=r"lacks anchor: .*KEYSVC_ALLOW_LACKS=anchor "):
        provisioning.make_missing(tokens.module, config, None)
    made = provisioning.make_missing(tokens.module, replace(config, allowed=frozenset({Lack.ANCHOR})), None)
    assert (5, frozenset({Lack.ANCHOR}), True) == (len(made.labels), made.lacking, made.wrapping_key_stays)


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
        Mechanism.AES_KEY_WRAP_PAD,
        None,
        attributes.NO_CAPABILITY,
        attributes.IN_TRANSIT_SHOWN,
    )
    with pytest.raises(pkcs11.PKCS11Error):
        wrapping.then_sealed(connection.token_key(connection.login, Purpose.WRAPPING, 1), asked)
    with pytest.raises(pkcs11.ObjectHandleInvalid):
        out[Attribute.CLASS]
