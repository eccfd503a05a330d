"""The certificates of `keysvc dev --tls`: a CA of its own, and what it signs for the server and the administrator.

Kept under one directory and made once; made anew when it nears its end, or when a part is lost or
does not fit the others. Production brings its own certificates.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keysvc.cli.files import private_directory, write_private

ADMIN_SPIFFE_ID = "spiffe://keysvc.dev/admin"
_CA_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=30)
_LEAST_LEFT = timedelta(days=10)
"""A certificate with less than this to live is made anew at the next start."""
_CLOCKS_DIFFER = timedelta(minutes=5)
_SERVER_NAMES = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)
_ADMIN_NAMES = (x509.UniformResourceIdentifier(ADMIN_SPIFFE_ID),)


@dataclass(frozen=True, slots=True)
class DevCertificates:
    """Where everything stands. Each key stands beside its certificate: NAME.key beside NAME.pem."""

    directory: Path

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def server(self) -> Path:
        return self.directory / "server.pem"

    @property
    def admin(self) -> Path:
        return self.directory / "admin.pem"


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def key_of(certificate: Path) -> Path:
    """Where the key of a certificate stands."""
    return certificate.with_suffix(".key")


def ensure_certificates(directory: Path, now: datetime, names: Sequence[x509.GeneralName] = ()) -> DevCertificates:
    """Makes what is missing or near its end. Raises Misconfigured where it cannot be written.

    A server's certificate that is made holds `names` too, beside those of loopback.
    """
    private_directory(directory, known_by="ca.key")
    files = DevCertificates(directory)
    ca = _kept(files.ca, now)
    if ca is None or not _signed_by(ca.certificate, ca):
        ca = _new_ca(now)
        _write(files.ca, ca)
    _ensure_leaf(files.server, ca, (*_SERVER_NAMES, *names), ExtendedKeyUsageOID.SERVER_AUTH, now)
    _ensure_leaf(files.admin, ca, _ADMIN_NAMES, ExtendedKeyUsageOID.CLIENT_AUTH, now)
    return files


def _ensure_leaf(
    path: Path, ca: _Pair, names: Sequence[x509.GeneralName], use: x509.ObjectIdentifier, now: datetime
) -> None:
    kept = _kept(path, now)
    if kept is None or not _signed_by(kept.certificate, ca):
        _write(path, _new_leaf(ca, names, use, now))


def _kept(path: Path, now: datetime) -> _Pair | None:
    """What stands there, if it is a whole pair with enough time left."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = load_pem_private_key(key_of(path).read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return _Pair(certificate, key) if certificate.not_valid_after_utc - now > _LEAST_LEFT else None


def _signed_by(certificate: x509.Certificate, ca: _Pair) -> bool:
    try:
        certificate.verify_directly_issued_by(ca.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _write(path: Path, pair: _Pair) -> None:
    # A crash between the two leaves a pair that does not fit, which the next start makes anew.
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(key_of(path), key.decode())
    write_private(path, pair.certificate.public_bytes(Encoding.PEM).decode())


def _new_ca(now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("keysvc dev CA")
    builder = (
        _builder(name, name, key.public_key(), now, _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return _Pair(builder.sign(key, hashes.SHA256()), key)


def _new_leaf(ca: _Pair, names: Sequence[x509.GeneralName], use: x509.ObjectIdentifier, now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    authority = ca.key.public_key()
    builder = (
        _builder(_name("keysvc dev"), ca.certificate.subject, key.public_key(), now, _LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
    )
    return _Pair(builder.sign(ca.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
