"""Making the token's own keys, and destroying one that was replaced: for `keysvc init` and `keysvc hsm`.

Needs read-write logins, one after another: nothing else of this process may be logged in meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, Session

from keysvc.hsm import anchor, attributes, keyring, lacks, offers
from keysvc.hsm.connection import TokenConfig, WrongPin, log_in
from keysvc.hsm.keyring import SPECS, KeySpec, label_of, wrapping_spec
from keysvc.hsm.lacks import Lack
from keysvc.hsm.module import Module
from keysvc.hsm.offers import Offers
from keysvc.model.hsm_keys import FIRST_GENERATION, Purpose


@dataclass(frozen=True, slots=True)
class Made:
    """What was done, and what whoever did it should know of the token."""

    labels: list[str]
    lacking: frozenset[Lack]
    wrapping_key_stays: bool
    """A wrapping key was made that is not movable."""


def make_missing(module: Module, config: TokenConfig, so_pin: str | None) -> Made:
    """Makes a first key of every purpose that has none. Raises Misconfigured or PKCS11Error.

    With the security officer's PIN the wrapping key is movable, where the token knows trusted keys; else it can be
    replaced only by renewing all keys.
    """
    with _logged_in(module, config) as session:
        found = offers.tried(session)
        lacking = found.lacking if anchor.lacking(session) is None else found.lacking | {Lack.ANCHOR}
        lacks.require_allowed(lacking, config.allowed)
        wrapping_missing = Purpose.WRAPPING in _missing(session)
    movable = found.trusts and so_pin is not None
    labels = []
    if wrapping_missing and movable:
        labels.append(make(module, config, so_pin, Purpose.WRAPPING, FIRST_GENERATION))
    with _logged_in(module, config) as session:
        labels += make_missing_keys(session)
    return Made(labels, lacking, wrapping_missing and not movable)


def make_missing_keys(session: Session) -> list[str]:
    """The same, none of them trusted; returns the labels. Needs a read-write session."""
    found = offers.tried(session)
    return [_generate_for(session, found, purpose, FIRST_GENERATION) for purpose in _missing(session)]


def _missing(session: Session) -> list[Purpose]:
    present = {key.purpose for key in keyring.find(session)}
    return [purpose for purpose in Purpose if purpose not in present]


def ensure(module: Module, config: TokenConfig, so_pin: str | None, purpose: Purpose, generation: int) -> str:
    """Makes a key unless it is there; returns its label. Raises as `make` does."""
    with _logged_in(module, config) as session:
        found = [key for key in keyring.find(session) if (key.purpose, key.generation) == (purpose, generation)]
    if found:
        return label_of(purpose, generation, found[0].wrap_by)
    return make(module, config, so_pin, purpose, generation)


def make(module: Module, config: TokenConfig, so_pin: str | None, purpose: Purpose, generation: int) -> str:
    """Makes a key and returns its label. Raises Misconfigured or PKCS11Error."""
    with _logged_in(module, config) as session:
        found = offers.tried(session)
        lacks.require_allowed(found.lacking, config.allowed)
        if purpose is not Purpose.WRAPPING or so_pin is None or not found.trusts:
            return _generate_for(session, found, purpose, generation)
    label = label_of(purpose, generation, found.wrap_by)
    spec = wrapping_spec(found.wrap_by, movable=True).without(found.lacking)
    _make_trusted(module, config, so_pin, spec, label)
    return label


def _generate_for(session: Session, found: Offers, purpose: Purpose, generation: int) -> str:
    """One that nobody need trust; returns its label."""
    if purpose is Purpose.WRAPPING:
        label = label_of(purpose, generation, found.wrap_by)
        spec = wrapping_spec(found.wrap_by, movable=False)
    else:
        label, spec = label_of(purpose, generation), SPECS[purpose]
    generate(session, spec.without(found.lacking), label)
    return label


def generate(session: Session, spec: KeySpec, label: str) -> None:
    """Makes a token key that nobody need trust. Needs a read-write session."""
    if spec.key_type is KeyType.RSA:
        session.generate_keypair(
            spec.key_type, spec.bits, label=label, store=True, capabilities=spec.capabilities,
            private_template=spec.template(),
        )  # fmt: skip
        return
    mechanism = Mechanism.AES_KEY_GEN if spec.key_type is KeyType.AES else Mechanism.GENERIC_SECRET_KEY_GEN
    session.generate_key(
        spec.key_type, spec.bits, label=label, store=True, capabilities=spec.capabilities,
        mechanism=mechanism, template=spec.template(),
    )  # fmt: skip


def _make_trusted(module: Module, config: TokenConfig, so_pin: str, spec: KeySpec, label: str) -> None:
    """Only the security officer may make a key trusted (PKCS#11 2.40 section 4.8), and it sees no private objects
    (section 2.6.8). So it makes one as a session object, and the user copies it into the token as private: the key is
    never stored but as the user's own.
    """
    token = module.token(config.label)
    public = token.open(rw=True, attribute_mapper=attributes.Mapper())
    try:
        officer = _officer(token, so_pin, config.label)
        try:
            made = public.generate_key(
                spec.key_type, spec.bits, label=label, store=False, capabilities=spec.capabilities,
                mechanism=Mechanism.AES_KEY_GEN, template={**spec.template(), **_TRUSTED_FOR_NOW},
            )  # fmt: skip
        finally:
            officer.close()
        with _logged_in(module, config):
            made.copy({Attribute.TOKEN: True, Attribute.PRIVATE: True, Attribute.MODIFIABLE: False})
            made.destroy()
    finally:
        public.close()


_TRUSTED_FOR_NOW = {Attribute.TRUSTED: True, Attribute.PRIVATE: False, Attribute.MODIFIABLE: True}


def _officer(token: pkcs11.Token, so_pin: str, label: str) -> Session:
    try:
        return token.open(rw=True, so_pin=so_pin)
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked):
        raise WrongPin(
            f"The PIN is not that of the security officer of token '{label}': check KEYSVC_SO_PIN_FILE"
            " (a token locks after a few tries)"
        ) from None


@contextmanager
def _logged_in(module: Module, config: TokenConfig) -> Iterator[Session]:
    _, session = log_in(module, config, writable=True)
    try:
        yield session
    finally:
        session.close()
