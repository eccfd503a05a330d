"""Who calls: HTTP Basic credentials (RFC 7617) of a principal, checked by the token's digest key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets

from keysvc.model.errors import PermissionDenied, Unauthenticated
from keysvc.model.names import is_id
from keysvc.model.permissions import CALLERS
from keysvc.model.principals import PrincipalRecord, PrincipalState
from keysvc.service.cache import Cache
from keysvc.service.digests import Digester

PASSWORD_USE = "principal-password"  # noqa: S105 - what the digest is for
_MAX_HEADER = 1024
_NO_DIGEST = bytes(32)


class Access:
    """Authenticates headers and authorises methods. Thread-safe."""

    def __init__(self, cache: Cache, digester: Digester) -> None:
        self._cache = cache
        self._digester = digester
        self._header_key = secrets.token_bytes(32)

    def authenticate(self, header: str) -> PrincipalRecord:
        """The active principal of an `authorization` header. Raises Unauthenticated, which says no more than that.

        A header that was right before is known by a keyed hash, until any principal changes.
        """
        if not header or len(header) > _MAX_HEADER:
            raise _unauthenticated()
        # Headers are remembered by a hash under a key of this process, never as they are.
        key = hashlib.blake2b(header.encode(), digest_size=32, key=self._header_key).digest()
        known = self._cache.header(key)
        if known is not None:
            return known
        as_of = self._cache.epoch
        principal = self._check(header)
        self._cache.remember_header(key, principal, as_of)
        return principal

    def _check(self, header: str) -> PrincipalRecord:
        principal_id, password = _parse_basic(header)
        principal = self._cache.principal(principal_id)
        # An unknown principal costs one digest too, so that time does not tell who exists.
        digest = principal.password_digest if principal else _NO_DIGEST
        generation = principal.digest_generation if principal else None
        right = self._digester.matches(PASSWORD_USE, principal_id, password, digest, generation)
        if principal is None or not right or principal.state is not PrincipalState.ACTIVE:
            raise _unauthenticated()
        return principal


def authorise(principal: PrincipalRecord, method: str) -> None:
    """Raises PermissionDenied unless the table of permissions lets this kind of principal call."""
    if principal.kind not in CALLERS.get(method, ()):
        raise PermissionDenied(f"{principal.kind} principals may not call {method}")


def _parse_basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise _unauthenticated()
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (ValueError, binascii.Error):
        raise _unauthenticated() from None
    principal_id, colon, password = text.partition(":")
    if not colon or not is_id(principal_id) or not password:
        raise _unauthenticated()
    return principal_id, password


def _unauthenticated() -> Unauthenticated:
    return Unauthenticated("Send `authorization: Basic …` with the credentials of a principal")
