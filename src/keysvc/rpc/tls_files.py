"""The PEM files of TLS: read together, and checked so that what was read can be served.

What gRPC cannot serve it refuses at a handshake only, or not at all, so it is refused here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from keysvc.model.errors import Misconfigured

_RSA_BITS = 2048
_PUBLIC = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

ReadFile = Callable[[Path], bytes]
Stamp = tuple[tuple[int, ...] | None, ...]
"""What tells files from later ones in their places; None for one that is not there."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """Checked contents of the files."""

    chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    expires: datetime


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The server's chain, leaf first; its key; the CAs that sign clients' certificates, where any are taken.

    `read_private` reads a file that nobody else may read.
    """

    certificate: Path
    key: Path
    client_ca: Path | None
    read_private: ReadFile

    def stamp(self) -> Stamp:
        paths = (self.certificate, self.key, self.client_ca)
        return tuple(_stamp(path) for path in paths if path is not None)

    def load(self, now: datetime) -> TlsMaterial:
        """Raises Misconfigured for what cannot be read or served."""
        chain = _read(self.certificate, "KEYSVC_TLS_CERTIFICATE")
        leaf = _certificates(chain, self.certificate, "KEYSVC_TLS_CERTIFICATE")[0]
        key = self.read_private(self.key)
        if _public(_private_key(key, self.key)) != _public_of(leaf, self.certificate):
            raise Misconfigured(
                f"The key {self.key} is not that of the certificate {self.certificate}:"
                " set KEYSVC_TLS_KEY and KEYSVC_TLS_CERTIFICATE to a pair"
            )
        _check_dates(leaf, self.certificate, now)
        return TlsMaterial(chain, key, self._load_client_ca(), leaf.not_valid_after_utc)

    def _load_client_ca(self) -> bytes | None:
        if self.client_ca is None:
            return None
        pem = _read(self.client_ca, "KEYSVC_TLS_CLIENT_CA")
        _certificates(pem, self.client_ca, "KEYSVC_TLS_CLIENT_CA")
        return pem


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _read(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"Cannot read {path}: {error.strerror}. Set {variable}") from None


def _certificates(pem: bytes, path: Path, variable: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise Misconfigured(f"{path} holds no certificate in PEM: set {variable} to a file that does") from None


def _private_key(pem: bytes, path: Path) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        raise Misconfigured(f"The key {path} is encrypted: keysvc takes it as it is, in a file of mode 0600") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Misconfigured(f"{path} holds no private key in PEM: set KEYSVC_TLS_KEY to a file that does") from None


def _public(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(*_PUBLIC)


def _public_of(leaf: x509.Certificate, path: Path) -> bytes:
    """gRPC's TLS has these kinds of keys only: with another, some even bind and then fail every handshake."""
    try:
        key = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    strong_rsa = isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS
    known_curve = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1 | SECP384R1)
    if key is None or not (strong_rsa or known_curve):
        raise Misconfigured(
            f"The certificate {path} must be for an RSA key of {_RSA_BITS} bits or more, P-256 or P-384"
        )
    return key.public_bytes(*_PUBLIC)


def _check_dates(certificate: x509.Certificate, path: Path, now: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= now <= end:
        raise Misconfigured(
            f"The certificate {path} is valid from {_said(begin)} to {_said(end)}: put a valid one there"
        )


def _said(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
