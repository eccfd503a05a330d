"""Who calls: a password (HTTP Basic, RFC 7617), a JWT (Bearer, RFC 6750), or a client certificate's SPIFFE id.

Any of them is enough. An `authorization` header that is there is what counts: one that is wrong is
not made good by a certificate.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable, Sequence

from keysvc.model.errors import Unauthenticated
from keysvc.model.names import is_id
from keysvc.model.principals import PrincipalRecord
from keysvc.service import bearer
from keysvc.service.cache import Cache
from keysvc.service.calls import Clock
from keysvc.service.digests import Digester
from keysvc.service.failures import FailureLimit
from keysvc.service.known import Known
from keysvc.store.store import Store

PASSWORD_USE = "principal-password"  # noqa: S105 - what the digest is for
_MAX_HEADER = 8192
_NO_DIGEST = bytes(32)


class Proof:
    """What a call brings to prove who makes it."""

    __slots__ = ("header", "key", "peer", "spiffe_ids")

    def __init__(self, header: str, spiffe_ids: Callable[[], Sequence[bytes]], peer: Callable[[], str]) -> None:
        """`header` is the `authorization` header, or nothing; `spiffe_ids` are of the client's certificate, as the TLS
        library verified it."""
        self.header = header
        self.spiffe_ids = spiffe_ids
        self.peer = peer
        self.key: bytes | None = None
        """What it is remembered by, once somebody has asked."""


class Access:
    """Authenticates calls. Thread-safe."""

    def __init__(self, store: Store, cache: Cache, digester: Digester, failures: FailureLimit, now: Clock) -> None:
        """`failures` limits wrong proofs by address and by whom they claim to be from."""
        self._store = store
        self._cache = cache
        self._digester = digester
        self._failures = failures
        self._now = now
        self._header_key = secrets.token_bytes(32)

    def authenticate(self, proof: Proof) -> Known:
        """The caller. Raises Unauthenticated, which says no more than that, or TooManyFailures.

        A proof that was right before is known by a keyed hash, until its principal changes.
        """
        key = self._key(proof)
        known = self._cache.header(key)
        if known is not None and self._holds(known):
            return known
        as_of = self._cache.moves
        if not proof.header:
            known = self._of_certificate(self._certificate(proof))
        elif (claims := bearer.read(proof.header)) is not None:
            return self._counted(proof, claims.principal_id, lambda: self._of_jwt(claims))
        else:
            principal_id, password = _parse_basic(proof.header)
            known = self._counted(proof, principal_id, lambda: self._of_password(principal_id, password))
        self._cache.remember_header(key, known, as_of)
        return known

    def remembered(self, proof: Proof) -> Known | None:
        """Whose it is, where it was right before: `authenticate` most likely knows it without asking anybody."""
        try:
            known = self._cache.known(self._key(proof))
        except Unauthenticated:
            return None
        return known if known is not None and self._holds(known) else None

    def _holds(self, known: Known) -> bool:
        return known.until is None or self._now() < known.until

    def _key(self, proof: Proof) -> bytes:
        """What a proof is remembered by: a hash under a key of this process. Raises Unauthenticated.

        A header that spells a certificate's id must not be taken for it, so each way has hashes of its own.
        """
        if proof.key is None:
            secret = proof.header or self._certificate(proof)
            if len(secret) > _MAX_HEADER:
                raise _unauthenticated()
            way = b"header" if proof.header else b"certificate"
            proof.key = hashlib.blake2b(secret.encode(), digest_size=32, key=self._header_key, person=way).digest()
        return proof.key

    def _counted(self, proof: Proof, principal_id: str, check: Callable[[], Known]) -> Known:
        # A right one is let in whatever came before it from there, in its name: it cannot be guessed, and its
        # principal is at work.
        try:
            return check()
        except Unauthenticated:
            # By the address without its port, and by whom it claims to be from.
            attempt = (proof.peer().rpartition(":")[0], principal_id)
            self._failures.check(attempt)
            self._failures.failed(attempt)
            raise

    def _of_password(self, principal_id: str, password: str) -> Known:
        record = self._cache.principal(principal_id)
        # An unknown principal costs a digest too, so that time does not tell who exists.
        digest, generation = (record.password_digest, record.digest_generation) if record else (_NO_DIGEST, None)
        if self._right(principal_id, password, digest, generation):
            return Known.of(_active(record))
        now = self._now()
        for old in record.retiring_passwords if record else ():
            if now < old.expire_time and self._right(principal_id, password, bytes.fromhex(old.digest), old.generation):
                return Known.of(_active(record), old.expire_time)
        raise _unauthenticated()

    def _right(self, principal_id: str, password: str, digest: bytes, generation: int | None) -> bool:
        return self._digester.matches(PASSWORD_USE, principal_id, password, digest, generation)

    def _of_jwt(self, claims: bearer.Claims) -> Known:
        found = self._cache.principal(claims.principal_id)
        signed = bearer.verify(claims, found.jwt_public_keys if found else (), self._now())
        record = _active(found)
        if not signed:
            raise _unauthenticated()
        # The last check, and the one that uses it up.
        if not self._store.use_jwt(record.principal_id, claims.jti_hash, claims.expire_time):
            raise _unauthenticated()
        return Known.of(record)

    @staticmethod
    def _certificate(proof: Proof) -> str:
        """The one SPIFFE id of the client's certificate. Raises Unauthenticated where there is none, or more."""
        found = proof.spiffe_ids()
        try:
            (spiffe_id,) = found
            return spiffe_id.decode("ascii")
        except ValueError:
            raise _unauthenticated() from None

    def _of_certificate(self, spiffe_id: str) -> Known:
        return Known.of(_active(self._cache.principal_of(spiffe_id)))


def _active(record: PrincipalRecord | None) -> PrincipalRecord:
    if record is None or not record.active:
        raise _unauthenticated()
    return record


def _parse_basic(header: str) -> tuple[str, str]:
    scheme, _, rest = header.partition(" ")
    encoded = rest.strip(" ")
    if scheme.lower() != "basic":
        raise _unauthenticated()
    try:
        raw = base64.b64decode(encoded, validate=True)
        text = raw.decode("utf-8")
    except (ValueError, binascii.Error):
        raise _unauthenticated() from None
    if base64.b64encode(raw).decode("ascii") != encoded:
        raise _unauthenticated()  # the decoder lets padding too many pass
    principal_id, colon, password = text.partition(":")
    if not colon or not is_id(principal_id) or not password:
        raise _unauthenticated()
    return principal_id, password


def _unauthenticated() -> Unauthenticated:
    return Unauthenticated(
        "Prove who calls: `authorization: Basic …`, `authorization: Bearer …` with a JWT, or a client certificate"
    )
