"""The certificates of `keysvc dev --tls`: made once, made anew in time, and never a pair that does not fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from keysvc.cli.certificates import ensure_certificates

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = ("ca", "server", "admin")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    ensure_certificates(tmp_path / "tls", NOW)
    return tmp_path / "tls"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def certificate(directory: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / f"{name}.pem").read_bytes())


def assert_whole(directory: Path, now: datetime) -> None:
    """Each key is its certificate's, the CA signed all, and all are valid."""
    ca = certificate(directory, "ca")
    for name in NAMES:
        found = certificate(directory, name)
        key = load_pem_private_key((directory / f"{name}.key").read_bytes(), None)
        assert key.public_key() == found.public_key()
        found.verify_directly_issued_by(ca)
        assert found.not_valid_before_utc < now < found.not_valid_after_utc


def test_a_ca_a_servers_and_the_administrators_certificate_for_their_owner_alone(directory: Path) -> None:
    assert {f"{name}.{kind}" for name in NAMES for kind in ("pem", "key")} == contents(directory).keys()
    assert {0o600} == {path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert 0o700 == directory.stat().st_mode & 0o777
    assert_whole(directory, NOW)


def test_the_administrators_holds_one_spiffe_uri_and_is_for_clients_only(directory: Path) -> None:
    extensions = certificate(directory, "admin").extensions
    names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    assert [x509.UniformResourceIdentifier("spiffe://keysvc.dev/admin")] == names
    uses = list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert [ExtendedKeyUsageOID.CLIENT_AUTH] == uses


def test_the_servers_is_for_loopback_and_for_servers_only(directory: Path) -> None:
    extensions = certificate(directory, "server").extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ["localhost"] == names.get_values_for_type(x509.DNSName)
    assert ["127.0.0.1", "::1"] == [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    uses = list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert [ExtendedKeyUsageOID.SERVER_AUTH] == uses


def test_only_the_ca_may_sign(directory: Path) -> None:
    limits = {name: certificate(directory, name).extensions for name in NAMES}
    constraints = {name: each.get_extension_for_class(x509.BasicConstraints) for name, each in limits.items()}
    assert {"ca": True, "server": False, "admin": False} == {name: each.value.ca for name, each in constraints.items()}
    assert {True} == {each.critical for each in constraints.values()}
    usages = {name: each.get_extension_for_class(x509.KeyUsage).value for name, each in limits.items()}
    assert {"ca": True, "server": False, "admin": False} == {name: each.key_cert_sign for name, each in usages.items()}


def test_later_starts_keep_what_has_long_to_live(directory: Path) -> None:
    before = contents(directory)
    ensure_certificates(directory, NOW + timedelta(days=19))
    assert before == contents(directory)


def test_leaves_near_their_end_are_made_anew_and_the_ca_stays(directory: Path) -> None:
    before, later = contents(directory), NOW + timedelta(days=21)
    ensure_certificates(directory, later)
    assert {"server.pem", "server.key", "admin.pem", "admin.key"} == changed(before, contents(directory))
    assert_whole(directory, later)


def test_a_ca_near_its_end_is_made_anew_with_all_that_it_signed(directory: Path) -> None:
    before, later = contents(directory), NOW + timedelta(days=3645)
    ensure_certificates(directory, later)
    assert before.keys() == changed(before, contents(directory))
    assert_whole(directory, later)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["pem", "key"])
def test_a_part_that_is_lost_or_spoilt_is_made_anew_with_what_hangs_on_it(
    directory: Path, name: str, kind: str
) -> None:
    expected = {f"{each}.{part}" for each in (NAMES if name == "ca" else (name,)) for part in ("pem", "key")}
    file, before = directory / f"{name}.{kind}", contents(directory)
    file.unlink()
    ensure_certificates(directory, NOW)
    assert expected == changed(before, contents(directory))
    file.write_text("-----BEGIN")
    ensure_certificates(directory, NOW)
    assert_whole(directory, NOW)


def test_keys_of_another_certificate_are_not_kept(directory: Path) -> None:
    """What a crash between writing a key and its certificate leaves."""
    (directory / "server.key").write_bytes((directory / "admin.key").read_bytes())
    ensure_certificates(directory, NOW)
    assert_whole(directory, NOW)


def test_leaves_of_another_ca_are_not_kept(directory: Path, tmp_path: Path) -> None:
    ensure_certificates(tmp_path / "other", NOW)
    for name in ("ca.pem", "ca.key"):
        (directory / name).write_bytes((tmp_path / "other" / name).read_bytes())
    ensure_certificates(directory, NOW)
    assert_whole(directory, NOW)
