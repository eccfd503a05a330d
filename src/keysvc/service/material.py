"""Making and taking in secrets: what goes to SQL, and the one copy that goes to the caller.

A key whose transaction does not commit never existed: the token keeps nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from keysvc.hsm.keys import AES_KEY_BYTES, KeyShape, NewKey
from keysvc.hsm.operations import Undecryptable, UnusableKey
from keysvc.hsm.token import Token
from keysvc.model import secrets
from keysvc.model.errors import InvalidField
from keysvc.model.hsm_keys import Purpose
from keysvc.model.names import CredentialName
from keysvc.model.secrets import SecretText
from keysvc.model.slots import FORMATS, RULES, HmacAlgorithm, Kind, SecretFormat
from keysvc.service import recipients
from keysvc.service.digests import Digester

API_KEY_USE = "api-key"
_BEARER_BYTES = 32
_HEX_UPPER_32_BYTES = 16
_TEXT_AES_RANDOM_BYTES = 24
"""Their base64url text is 32 characters: an AES-256 key of format TEXT."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a key is to be: the request's choices, with the slot's defaults filled in."""

    kind: Kind
    algorithm: HmacAlgorithm | None
    secret_format: SecretFormat

    @property
    def shape(self) -> KeyShape:
        return KeyShape(self.algorithm)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A key ready to be stored, with its one copy for the caller. An imported one has no copy."""

    recipe: Recipe
    material: bytes = field(repr=False)
    generation: int
    fingerprint: str
    weak: bool = False
    text: SecretText | None = None
    sealed: bytes | None = field(default=None, repr=False)


def recipe(name: CredentialName, algorithm: HmacAlgorithm | None, secret_format: SecretFormat | None) -> Recipe:
    """Fills in the slot's defaults. Raises InvalidField for what does not fit the slot."""
    rule = RULES[name.slot]
    if rule.kind is Kind.HMAC_KEY:
        algorithm = algorithm or HmacAlgorithm.HMAC_SHA256
    elif algorithm is not None:
        raise InvalidField("hmac_algorithm", f"does not apply: {name.slot} holds no HMAC key")
    chosen = secret_format or rule.default_format
    if chosen not in FORMATS[rule.kind]:
        fitting = ", ".join(sorted(FORMATS[rule.kind]))
        raise InvalidField("secret_format", f"{chosen} does not fit {name.slot}; {fitting} do")
    return Recipe(rule.kind, algorithm, chosen)


@dataclass(frozen=True, slots=True)
class Offered:
    """A secret from outside, checked."""

    name: CredentialName
    wanted: Recipe
    text: str = field(repr=False)
    key: bytes = field(repr=False)
    weak: bool


class ImportKey:
    """The public half of the token's import key."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def pem(self) -> str:
        return recipients.to_pem(self._token.import_public_key())


class Maker:
    """Makes and adopts keys with the token. Methods raise HsmUnavailable when it cannot answer."""

    def __init__(self, token: Token, digester: Digester) -> None:
        self._token = token
        self._digester = digester

    def make(self, name: CredentialName, wanted: Recipe, recipient: RSAPublicKey | None) -> Fresh:
        """A new secret. HMAC and encryption keys of the binary formats are made inside the token."""
        if wanted.kind is Kind.BEARER_SECRET:
            text = secrets.encode(self._random_key(wanted), wanted.secret_format)
            return self._bearer(name, wanted, text, recipient)
        if wanted.secret_format in (SecretFormat.TEXT, SecretFormat.HEX_UPPER_32):
            key = self._random_key(wanted)
            return self._fresh(name, wanted, self._token.adopt(wanted.shape, key), key, recipient)
        made = self._token.generate(wanted.shape, recipient)
        return self._fresh(name, wanted, made, made.plain, recipient)

    def adopt(self, name: CredentialName, wanted: Recipe, text: str, *, allow_weak: bool) -> Fresh:
        """A secret that the merchant already uses. Raises InvalidField, which never quotes it."""
        return self.adopt_each([offered(name, wanted, text, allow_weak=allow_weak)])[0]

    def adopt_each(self, secrets_offered: Sequence[Offered]) -> list[Fresh]:
        """The same of several, in their order, in few visits to the token."""
        stored = self._stored(secrets_offered)
        names = [(str(each.name), material) for each, (material, _) in zip(secrets_offered, stored, strict=True)]
        return [
            Fresh(each.wanted, material, generation, fingerprint, each.weak)
            for each, (material, generation), fingerprint in zip(
                secrets_offered, stored, self._digester.fingerprints(names), strict=True
            )
        ]

    def _stored(self, secrets_offered: Sequence[Offered]) -> list[tuple[bytes, int]]:
        """What SQL keeps of each, and the generation that made it."""
        bearers = [each for each in secrets_offered if each.wanted.kind is Kind.BEARER_SECRET]
        keys = [each for each in secrets_offered if each.wanted.kind is not Kind.BEARER_SECRET]
        digests = iter(self._digester.make_each(API_KEY_USE, [(str(each.name), each.text) for each in bearers]))
        made = self._token.adopt_each([(each.wanted.shape, each.key) for each in keys])
        wrapped = iter([(key.material, key.generation) for key in made])
        return [next(digests if each.wanted.kind is Kind.BEARER_SECRET else wrapped) for each in secrets_offered]

    def adopt_sealed(self, name: CredentialName, wanted: Recipe, sealed: bytes) -> Fresh:
        """The same, sealed under the import key: it never stands in the process. Raises InvalidField."""
        if wanted.kind is Kind.BEARER_SECRET:
            raise InvalidField(
                "sealed_secret", "is for HMAC and encryption keys: of a bearer secret a digest is stored; use `secret`"
            )
        try:
            made = self._token.adopt_sealed(wanted.shape, sealed)
        except Undecryptable:
            raise InvalidField("sealed_secret", "is not sealed under GetImportKey's key with RSA-OAEP") from None
        except UnusableKey:
            size = wanted.shape.size
            rule = "" if wanted.algorithm is None else f" or more for {wanted.algorithm}, long ones in multiples of 8"
            raise InvalidField(
                "sealed_secret",
                f"holds a key that the token will not use: it takes {size} bytes{rule}; import others as `secret`",
            ) from None
        return Fresh(wanted, made.material, made.generation, self._digester.fingerprint(str(name), made.material))

    def is_newest(self, fresh: Fresh) -> bool:
        """Whether it was made with the newest key of the token: inside a change, whether it may be written."""
        purpose = Purpose.DIGEST if fresh.recipe.kind is Kind.BEARER_SECRET else Purpose.WRAPPING
        return fresh.generation == self._token.newest(purpose)

    def _random_key(self, wanted: Recipe) -> bytes:
        if wanted.secret_format is SecretFormat.HEX_UPPER_32:
            return self._token.random(_HEX_UPPER_32_BYTES)
        if wanted.kind is Kind.ENCRYPTION_KEY:
            return secrets.new_text_key(self._token.random(_TEXT_AES_RANDOM_BYTES))
        random = self._token.random(wanted.algorithm.size if wanted.algorithm else _BEARER_BYTES)
        return secrets.new_text_key(random) if wanted.secret_format is SecretFormat.TEXT else random

    def _bearer(self, name: CredentialName, wanted: Recipe, text: str, recipient: RSAPublicKey | None) -> Fresh:
        digest, generation = self._digester.make(API_KEY_USE, str(name), text)
        fingerprint = self._digester.fingerprint(str(name), digest)
        if recipient is None:
            return Fresh(wanted, digest, generation, fingerprint, text=SecretText(text))
        return Fresh(wanted, digest, generation, fingerprint, sealed=recipients.seal(recipient, text.encode()))

    def _fresh(
        self, name: CredentialName, wanted: Recipe, made: NewKey, plain: bytes | None, recipient: RSAPublicKey | None
    ) -> Fresh:
        fingerprint = self._digester.fingerprint(str(name), made.material)
        if made.sealed is not None:
            return Fresh(wanted, made.material, made.generation, fingerprint, sealed=made.sealed)
        if plain is None:
            raise ValueError("a new key has neither bytes nor a sealed copy")
        if recipient is not None:
            sealed = recipients.seal(recipient, plain)
            return Fresh(wanted, made.material, made.generation, fingerprint, sealed=sealed)
        text = SecretText(secrets.encode(plain, wanted.secret_format))
        return Fresh(wanted, made.material, made.generation, fingerprint, text=text)


def offered(name: CredentialName, wanted: Recipe, text: str, *, allow_weak: bool) -> Offered:
    """A secret from outside that fits its slot. Raises InvalidField, which never quotes it."""
    key = secrets.decode(text, wanted.secret_format, "secret")
    if wanted.kind is Kind.ENCRYPTION_KEY and len(key) != AES_KEY_BYTES:
        raise InvalidField("secret", f"is {len(key)} bytes; an encryption key (AES-256) is {AES_KEY_BYTES}")
    return Offered(name, wanted, text, key, _weak(key, allow_weak=allow_weak))


def _weak(key: bytes, *, allow_weak: bool) -> bool:
    if len(key) < secrets.MIN_KEY_BYTES:
        raise InvalidField("secret", f"is {len(key)} bytes; under {secrets.MIN_KEY_BYTES} is never taken")
    weak = len(key) < secrets.STRONG_KEY_BYTES
    if weak and not allow_weak:
        raise InvalidField(
            "secret", f"is {len(key)} bytes, under {secrets.STRONG_KEY_BYTES} (112 bits): set allow_weak_key to take it"
        )
    return weak
