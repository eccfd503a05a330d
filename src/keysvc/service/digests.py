"""Keyed digests of secrets that callers present: by the token's digest key, bound to what they open."""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence

from keysvc.hsm.token import Token
from keysvc.model.hsm_keys import Purpose

_FINGERPRINT_BYTES = 8


class Digester:
    """Makes and compares digests. Methods raise HsmUnavailable when the token cannot answer."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def make(self, use: str, resource: str, secret: str) -> tuple[bytes, int]:
        """(digest, generation of the digest key). The same secret elsewhere has another digest."""
        generation = self._token.newest(Purpose.DIGEST)
        return self._digest(generation, use, resource, secret), generation

    def make_each(self, use: str, secrets: Sequence[tuple[str, str]]) -> list[tuple[bytes, int]]:
        """The same of many, by resource and secret."""
        generation = self._token.newest(Purpose.DIGEST)
        asked = [_text(use, resource, secret) for resource, secret in secrets]
        return [(digest, generation) for digest in self._token.keyed_digests(Purpose.DIGEST, generation, asked)]

    def remake(self, generation: int, use: str, resource: str, secret: str) -> bytes | None:
        """The digest that `make` gave when this generation was the newest; None where the token lacks it."""
        try:
            return self._digest(generation, use, resource, secret)
        except KeyError:
            return None

    def matches(self, use: str, resource: str, secret: str, digest: bytes, generation: int | None) -> bool:
        """In constant time; False for a generation that the token lacks. None stands for the newest."""
        if generation is None:
            generation = self._token.newest(Purpose.DIGEST)
        try:
            return hmac.compare_digest(self._digest(generation, use, resource, secret), digest)
        except KeyError:
            return False

    def fingerprint(self, resource: str, material: bytes) -> str:
        """16 hexadecimal digits that tell a resource's keys apart. The same key elsewhere has others."""
        generation = self._token.newest(Purpose.DIGEST)
        return self._digest(generation, "fingerprint", resource, material.hex())[:_FINGERPRINT_BYTES].hex()

    def fingerprints(self, materials: Sequence[tuple[str, bytes]]) -> list[str]:
        """The same of many, by resource and material."""
        asked = [_text("fingerprint", resource, material.hex()) for resource, material in materials]
        digests = self._token.keyed_digests(Purpose.DIGEST, self._token.newest(Purpose.DIGEST), asked)
        return [digest[:_FINGERPRINT_BYTES].hex() for digest in digests]

    def _digest(self, generation: int, *parts: str) -> bytes:
        return self._token.keyed_digest(Purpose.DIGEST, generation, _text(*parts))


def _text(*parts: str) -> bytes:
    return json.dumps(parts, separators=(",", ":")).encode()
