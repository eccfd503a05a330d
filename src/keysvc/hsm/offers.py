"""What a token offers, found by trying: lists of mechanisms and attributes that are taken say less than what is done.

All is tried on session objects, which are gone at the end. Whether it keeps an anchor is tried by `keysvc.hsm.anchor`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, Session

from keysvc.hsm import attributes
from keysvc.hsm.faults import Fault, classify
from keysvc.hsm.keys import BoundKey, KeyShape, handle_of
from keysvc.hsm.lacks import Lack
from keysvc.hsm.wrapping import Wrap, WrappingKey, then_sealed
from keysvc.model.errors import Misconfigured
from keysvc.model.slots import HmacAlgorithm

_Template = dict[Attribute, Any]
_SHAPE = KeyShape(HmacAlgorithm.HMAC_SHA256)
_WRAPS = MechanismFlag.WRAP | MechanismFlag.UNWRAP
_ENCRYPTS = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT


@dataclass(frozen=True, slots=True)
class Offers:
    """Of one token."""

    wrap_by: Wrap
    """The mechanism that a new wrapping key is made for."""
    trusts: bool
    """Whether there are keys that only a trusted key wraps: without, no wrapping key is movable."""
    lacking: frozenset[Lack]


def tried(session: Session) -> Offers:
    """Needs a login. Raises Misconfigured where the token wraps keys by no mechanism that keysvc knows."""
    trials: dict[Lack, Callable[[Session], bool]] = {
        Lack.ALLOWED_MECHANISMS: _holds_keys_to_their_mechanisms,
        Lack.ENCRYPTION: _encrypts,
    }
    lacking = {lack for lack, works in trials.items() if not _does(works, session)}
    wrap_by = _best_wrap(session)
    if not _does(_holds_unwrapped_keys_to_template, session, wrap_by):
        lacking.add(Lack.UNWRAP_TEMPLATE)
    return Offers(wrap_by, _does(_trusts, session, wrap_by), frozenset(lacking))


def _best_wrap(session: Session) -> Wrap:
    for wrap_by in Wrap:
        if _does(_wraps, session, wrap_by):
            return wrap_by
    names = " nor ".join(f"CKM_{wrap_by.mechanism.name}" for wrap_by in Wrap)
    raise Misconfigured(f"The token wraps a key neither by {names}: keysvc cannot use it")


def _wraps(session: Session, wrap_by: Wrap) -> bool:
    """What comes back must be the key that went in."""
    with _key(session, KeyType.AES, _WRAPS, attributes.SEALED_FROM_BIRTH) as by, _lent(session) as key:
        wrapping = WrappingKey(handle_of(by), wrap_by, movable=False, take_out=then_sealed)
        blob = wrapping.wrap(session, key)
        again = wrapping.unwrap(session, _SHAPE, blob, attributes.SEALED_FROM_BIRTH, MechanismFlag.SIGN)
        same = hmac.compare_digest(_mac(session, key), _mac(session, again))
        again.destroy()
        return same


def _holds_unwrapped_keys_to_template(session: Session, wrap_by: Wrap) -> bool:
    template = {**attributes.SEALED_FROM_BIRTH, Attribute.UNWRAP_TEMPLATE: attributes.SEALED_FROM_BIRTH}
    with _key(session, KeyType.AES, _WRAPS, template) as by, _lent(session) as key:
        wrapping = WrappingKey(handle_of(by), wrap_by, movable=False)
        blob = wrapping.wrap(session, key)
        if not _comes_out_sealed(session, wrapping, blob, attributes.SEALED_FROM_BIRTH):
            return False
        try:
            return _comes_out_sealed(session, wrapping, blob, attributes.IN_TRANSIT_SHOWN)
        except pkcs11.PKCS11Error as error:
            return _is_no(error)


def _comes_out_sealed(session: Session, wrapping: WrappingKey, blob: bytes, asked: _Template) -> bool:
    key = wrapping.unwrap(session, _SHAPE, blob, asked, MechanismFlag.SIGN)
    sealed = key[Attribute.SENSITIVE] and not key[Attribute.EXTRACTABLE]
    key.destroy()
    return bool(sealed)


def _holds_keys_to_their_mechanisms(session: Session) -> bool:
    only = (Mechanism.SHA256_HMAC,)
    template = {**attributes.SEALED_FROM_BIRTH, Attribute.ALLOWED_MECHANISMS: only}
    with _key(session, KeyType.GENERIC_SECRET, MechanismFlag.SIGN, template) as key:
        if key[Attribute.ALLOWED_MECHANISMS] != tuple(int(mechanism) for mechanism in only):
            return False
        _mac(session, key)
        try:
            BoundKey(session, handle_of(key)).sign(b"", mechanism=Mechanism.SHA_1_HMAC)
        except pkcs11.PKCS11Error as error:
            return _is_no(error)
        return False


def _encrypts(session: Session) -> bool:
    with _key(session, KeyType.AES, _ENCRYPTS, attributes.SEALED_FROM_BIRTH) as key:
        bound, nonce = BoundKey(session, handle_of(key)), GCMParams(bytes(12), b"a trial", 128)
        sealed = bound.encrypt(b"a trial", mechanism=Mechanism.AES_GCM, mechanism_param=nonce)
        opened: bytes = bound.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=nonce)
        return opened == b"a trial"


def _trusts(session: Session, wrap_by: Wrap) -> bool:
    """A key that asks for a trusted one must not be wrapped by another."""
    asks = {**attributes.IN_TRANSIT_UNSEEN, **attributes.FOR_TRUSTED_KEYS}
    with (
        _key(session, KeyType.AES, _WRAPS, attributes.SEALED_FROM_BIRTH) as by,
        _key(session, KeyType.GENERIC_SECRET, attributes.NO_CAPABILITY, asks) as key,
    ):
        try:
            WrappingKey(handle_of(by), wrap_by, movable=False).wrap(session, key)
        except pkcs11.PKCS11Error as error:
            return _is_no(error)
        return False


def _does(trial: Callable[..., bool], session: Session, *arguments: Any) -> bool:
    try:
        return trial(session, *arguments)
    except pkcs11.PKCS11Error as error:
        return not _is_no(error)


def _is_no(error: pkcs11.PKCS11Error) -> bool:
    """Tokens say no by many codes. A token that was reset or is gone has not said it: its error is raised."""
    if classify(error) is not Fault.UNKNOWN:
        raise error
    return True


@contextmanager
def _key(session: Session, key_type: KeyType, uses: MechanismFlag, template: _Template) -> Iterator[pkcs11.SecretKey]:
    is_aes = key_type is KeyType.AES
    key = session.generate_key(
        key_type, 256, mechanism=Mechanism.AES_KEY_GEN if is_aes else Mechanism.GENERIC_SECRET_KEY_GEN,
        capabilities=uses, template=template,
    )  # fmt: skip
    try:
        yield key
    finally:
        key.destroy()


def _lent(session: Session) -> Any:
    return _key(session, KeyType.GENERIC_SECRET, MechanismFlag.SIGN, attributes.IN_TRANSIT_UNSEEN)


def _mac(session: Session, key: pkcs11.SecretKey) -> bytes:
    return bytes(BoundKey(session, handle_of(key)).sign(b"a trial", mechanism=Mechanism.SHA256_HMAC))
