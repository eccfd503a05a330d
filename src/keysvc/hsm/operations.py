"""What the token is asked to do, each as one function of a connection and a worker session.

Every operation leaves nothing behind in the token, so any of them may be tried again after a reset.
They raise pkcs11.PKCS11Error; `keysvc.hsm.token` decides what that means.
"""

from __future__ import annotations

import hmac as constant_time
from collections.abc import Hashable, Sequence
from functools import partial

import pkcs11
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pkcs11 import GCMParams, Mechanism, Session

from keysvc.hsm import attributes
from keysvc.hsm.connection import Connection
from keysvc.hsm.keys import BoundKey, KeyShape, NewKey, WrappedKey, handle_of, hmac_algorithm
from keysvc.hsm.lacks import Lack
from keysvc.hsm.wrapping import Wrapped, taking_out
from keysvc.model.hsm_keys import Purpose
from keysvc.model.slots import HmacAlgorithm

NONCE_BYTES = 12
TAG_BITS = 128
_KNOWN_MESSAGE = b"Hi There"
_KNOWN_ANSWER = bytes.fromhex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")


Run = tuple[WrappedKey, Sequence[bytes]]
"""A key, with the messages that it makes MACs of."""


class Undecryptable(Exception):
    """The ciphertext is not of this key, nonce and additional data."""


class UnusableKey(Exception):
    """The token holds the key but will not use it: it is too short, or of a wrong length."""


def hmac(connection: Connection, session: Session, key: WrappedKey, message: bytes) -> bytes:
    """The MAC by a merchant's key, unwrapped on first use."""
    handle = connection.handles.borrow(key.ident, lambda: connection.unwrap(key))
    try:
        return connection.signer.sign(session, handle.value, hmac_algorithm(key.shape), message)
    finally:
        connection.handles.give_back(handle)


def hmacs(connection: Connection, session: Session, runs: Sequence[Run]) -> list[bytes]:
    """The MACs of each message by the key of its run, in their order."""
    macs: list[bytes] = []
    for key, messages in runs:
        handle = connection.handles.borrow(key.ident, partial(connection.unwrap, key))
        try:
            macs += connection.signer.sign_each(session, handle.value, hmac_algorithm(key.shape), messages)
        finally:
            connection.handles.give_back(handle)
    return macs


def keyed_digest(connection: Connection, session: Session, purpose: Purpose, generation: int, data: bytes) -> bytes:
    """HMAC-SHA256 by one of the token's own keys. Raises NoSuchGeneration."""
    key = connection.handle(purpose, generation)
    return connection.signer.sign(session, key, HmacAlgorithm.HMAC_SHA256, data)


def keyed_digests(
    connection: Connection, session: Session, purpose: Purpose, generation: int, data: Sequence[bytes]
) -> list[bytes]:
    """The same of each of them."""
    key = connection.handle(purpose, generation)
    return connection.signer.sign_each(session, key, HmacAlgorithm.HMAC_SHA256, data)


def random(_connection: Connection, session: Session, size: int) -> bytes:
    """`size` bytes from the token's generator."""
    return session.generate_random(size * 8)


def encrypt(connection: Connection, session: Session, key: WrappedKey, plaintext: bytes, context: bytes) -> bytes:
    """AES-256-GCM with a fresh nonce: nonce, ciphertext, tag."""
    connection.require(Lack.ENCRYPTION)
    nonce = session.generate_random(NONCE_BYTES * 8)
    handle = connection.handles.borrow(key.ident, lambda: connection.unwrap(key))
    try:
        return nonce + _gcm_encrypt(session, handle.value, nonce, plaintext, context)
    finally:
        connection.handles.give_back(handle)


def decrypt(connection: Connection, session: Session, key: WrappedKey, sealed: bytes, context: bytes) -> bytes:
    """Undoes `encrypt`; raises Undecryptable.

    Tokens answer a wrong tag with different codes, some with CKR_GENERAL_ERROR, which could also mean
    that the token is broken. Encrypting with the same key tells the two apart.
    """
    connection.require(Lack.ENCRYPTION)
    nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    handle = connection.handles.borrow(key.ident, lambda: connection.unwrap(key))
    try:
        plaintext: bytes = BoundKey(session, handle.value).decrypt(
            body, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, context, TAG_BITS),
            buffer_size=max(len(body), 1),
        )  # fmt: skip
        return plaintext
    except pkcs11.PKCS11Error:
        with_fresh_nonce = session.generate_random(NONCE_BYTES * 8)
        _gcm_encrypt(session, handle.value, with_fresh_nonce, b"", b"")
        raise Undecryptable from None
    finally:
        connection.handles.give_back(handle)


def generate(connection: Connection, session: Session, shape: KeyShape, recipient: RSAPublicKey | None) -> NewKey:
    """Makes a key in the token, wraps it, and takes its one copy out: sealed to `recipient`, or readable."""
    template = attributes.IN_TRANSIT_SHOWN if recipient is None else attributes.IN_TRANSIT_UNSEEN
    key = session.generate_key(
        shape.key_type, shape.size * 8, mechanism=shape.generation_mechanism,
        capabilities=attributes.NO_CAPABILITY, template=template,
    )  # fmt: skip
    try:
        generation, material = wrap(connection, session, key)
        if recipient is None:
            return NewKey(material, generation, plain=key[pkcs11.Attribute.VALUE])
        return NewKey(material, generation, sealed=_seal(session, key, recipient))
    finally:
        key.destroy()


def adopt(connection: Connection, session: Session, shape: KeyShape, value: bytes) -> NewKey:
    """Wraps a key that the process holds the bytes of."""
    key = session.create_object(attributes.secret_key_object(shape.key_type, shape.fit(value)))
    try:
        generation, material = wrap(connection, session, key)
        return NewKey(material, generation)
    finally:
        key.destroy()


def adopt_each(connection: Connection, session: Session, asked: Sequence[tuple[KeyShape, bytes]]) -> list[NewKey]:
    """Wraps keys that the process holds the bytes of, in their order."""
    return [adopt(connection, session, shape, value) for shape, value in asked]


def adopt_sealed(connection: Connection, session: Session, shape: KeyShape, sealed: bytes) -> NewKey:
    """Unwraps a key sealed under the import key, and wraps it under the wrapping key, inside the token.

    Raises Undecryptable where it is not sealed under the import key, and UnusableKey where the token
    would not work with it: inside the token a short key cannot be padded.
    """
    if shape.algorithm is None:
        connection.require(Lack.ENCRYPTION)
    importing = connection.token_key(session, Purpose.IMPORT, connection.keyring.newest(Purpose.IMPORT))
    wrapped = Wrapped(
        shape.key_type, sealed, Mechanism.RSA_PKCS_OAEP, None, shape.capabilities, attributes.IN_TRANSIT_UNSEEN
    )
    try:
        key = taking_out(connection.lacking)(importing, wrapped)
    except pkcs11.PKCS11Error:
        self_test(connection, session)
        raise Undecryptable from None
    try:
        before = try_out(connection, session, shape, handle_of(key))
        generation, material = wrap(connection, session, key)
    finally:
        key.destroy()
    again = connection.unwrap(WrappedKey(None, shape, material, generation))
    try:
        after = try_out(connection, session, shape, handle_of(again))
    finally:
        again.destroy()
    least = connection.wrapping_key(generation).wrap_by.size(shape.size)
    if before != after or len(material) < least or (shape.algorithm is None and len(material) > least):
        raise UnusableKey
    return NewKey(material, generation)


def forget(connection: Connection, _session: Session, idents: list[Hashable]) -> None:
    """Destroys the handles of keys that ended."""
    connection.handles.forget(idents)


def self_test(connection: Connection, session: Session) -> None:
    """The token is there, computes RFC 4231's first answer, and still holds our row key. Raises PKCS11Error."""
    connection.token.slot.get_token()
    answer = connection.signer.sign(session, connection.known_answer_key, HmacAlgorithm.HMAC_SHA256, _KNOWN_MESSAGE)
    if not constant_time.compare_digest(answer, _KNOWN_ANSWER):
        raise pkcs11.DeviceError("the token computes a wrong HMAC")
    keyed_digest(connection, session, Purpose.ROW, connection.keyring.newest(Purpose.ROW), _KNOWN_MESSAGE)


def try_out(connection: Connection, session: Session, shape: KeyShape, key: int) -> bytes:
    """What the key makes of nothing. It is asked before and after wrapping, which may round its length up."""
    try:
        if shape.algorithm is None:
            # A nonce of its own, which no ciphertext that leaves the token ever has, so that both can be compared.
            return _gcm_encrypt(session, key, bytes(NONCE_BYTES), b"", b"keysvc key check")
        return connection.signer.sign(session, key, hmac_algorithm(shape), b"")
    except pkcs11.PKCS11Error:
        self_test(connection, session)
        raise UnusableKey from None


def _gcm_encrypt(session: Session, handle: int, nonce: bytes, plaintext: bytes, context: bytes) -> bytes:
    sealed: bytes = BoundKey(session, handle).encrypt(
        plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, context, TAG_BITS),
        buffer_size=len(plaintext) + TAG_BITS // 8,
    )  # fmt: skip
    return sealed


def wrap(connection: Connection, session: Session, key: pkcs11.Object) -> tuple[int, bytes]:
    """A key that was made to be wrapped."""
    connection.wear.add()
    generation = connection.keyring.newest(Purpose.WRAPPING)
    return generation, connection.wrapping_key(generation).wrap(session, key)


def _seal(session: Session, key: pkcs11.Object, recipient: RSAPublicKey) -> bytes:
    numbers = recipient.public_numbers()
    public = session.create_object(attributes.recipient_key_object(_big_endian(numbers.n), _big_endian(numbers.e)))
    try:
        sealed: bytes = BoundKey(session, handle_of(public)).wrap_key(key, mechanism=Mechanism.RSA_PKCS_OAEP)
        return sealed
    finally:
        public.destroy()


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
