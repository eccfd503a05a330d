"""Settings of TLS that cannot be used: one line that says what to do. And `dev --tls`, which needs none."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from support.asking import ask
from support.certificates import Authority, uri
from support.encrypted import Encrypted, make_encrypted, trusting
from support.program import assert_refused, run, serving
from support.server import Client

LISTEN = {"KEYSVC_LISTEN": "127.0.0.1:0", "KEYSVC_MTLS_LISTEN": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Encrypted:
    """Not to be changed."""
    return make_encrypted(tmp_path_factory.mktemp("settings") / "all")


def refused_with(encrypted: Encrypted, words: tuple[str, ...], **changed: str | None) -> None:
    """`serve` with these settings changed; None unsets one."""
    settings = {name: value for name, value in (encrypted.settings | changed).items() if value is not None}
    assert_refused(run("serve", settings=settings), *words)


@pytest.mark.parametrize(
    ("unset", "named"),
    [
        (("KEYSVC_TLS_CERTIFICATE",), "Set KEYSVC_TLS_CERTIFICATE"),
        (("KEYSVC_TLS_KEY",), "Set KEYSVC_TLS_KEY"),
        (("KEYSVC_TLS_CLIENT_CA",), "Set KEYSVC_TLS_CLIENT_CA"),
        (("KEYSVC_MTLS_LISTEN",), "Set KEYSVC_MTLS_LISTEN"),
        (("KEYSVC_TLS_CERTIFICATE", "KEYSVC_TLS_KEY"), "Set KEYSVC_TLS_CERTIFICATE and KEYSVC_TLS_KEY"),
    ],
)
def test_half_of_what_belongs_together_names_the_other_half(
    encrypted: Encrypted, unset: tuple[str, ...], named: str
) -> None:
    refused_with(encrypted, (named,), **dict.fromkeys(unset))


def test_only_encrypted_calls_may_come_from_elsewhere(encrypted: Encrypted) -> None:
    names = ("KEYSVC_TLS_CERTIFICATE", "KEYSVC_TLS_KEY", "KEYSVC_TLS_CLIENT_CA", "KEYSVC_MTLS_LISTEN")
    plain = dict.fromkeys(names)
    refused_with(encrypted, ("0.0.0.0:0", "KEYSVC_TLS_CERTIFICATE"), KEYSVC_LISTEN="0.0.0.0:0", **plain)
    anywhere = {"KEYSVC_LISTEN": "0.0.0.0:0", "KEYSVC_MTLS_LISTEN": "0.0.0.0:0"}
    with encrypted.serving(**anywhere) as running:
        port = running.address.rpartition(":")[2]
        credentials = encrypted.production.admin_credentials.read_text()
        with Client(f"127.0.0.1:{port}", credentials, trusting(encrypted.servers.pem)) as client:
            ask(client, "ListMerchants")
        assert 0 == running.stop()


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1", "127.0.0.1:99999", "unix:/nowhere/at/all/socket"])
def test_a_second_address_that_is_none(encrypted: Encrypted, listen: str) -> None:
    refused_with(encrypted, (listen, "KEYSVC_MTLS_LISTEN"), KEYSVC_MTLS_LISTEN=listen)


@pytest.mark.parametrize("name", ["KEYSVC_TLS_CERTIFICATE", "KEYSVC_TLS_KEY", "KEYSVC_TLS_CLIENT_CA"])
def test_a_file_that_cannot_be_read_or_holds_nothing_of_the_kind(
    encrypted: Encrypted, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "file"
    refused_with(encrypted, (str(file), name), **{name: str(file)})
    file.touch(mode=0o600)
    for text in ("", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        file.write_text(text)
        refused_with(encrypted, (str(file), name), **{name: str(file)})
    refused_with(encrypted, (str(tmp_path), name), **{name: str(tmp_path)})


def test_a_key_that_others_can_read(encrypted: Encrypted, tmp_path: Path) -> None:
    """Nor through a link that is nobody else's."""
    key, link = tmp_path / "server.key", tmp_path / "link"
    key.write_bytes((encrypted.directory / "server.key").read_bytes())
    link.symlink_to(key)
    for mode in (0o640, 0o604, 0o660, 0o644):
        key.chmod(mode)
        for path in (key, link):
            refused_with(encrypted, (str(path), "chmod 600"), KEYSVC_TLS_KEY=str(path))


def test_a_key_of_another_certificate(encrypted: Encrypted, tmp_path: Path) -> None:
    _, key = encrypted.servers.server().write(tmp_path, "other")
    refused_with(encrypted, (str(key), "KEYSVC_TLS_KEY", "KEYSVC_TLS_CERTIFICATE"), KEYSVC_TLS_KEY=str(key))


def test_a_key_under_a_password(encrypted: Encrypted, tmp_path: Path) -> None:
    plain = load_pem_private_key((encrypted.directory / "server.key").read_bytes(), None)
    key = tmp_path / "server.key"
    key.touch(mode=0o600)
    key.write_bytes(plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    refused_with(encrypted, (str(key), "encrypted"), KEYSVC_TLS_KEY=str(key))


@pytest.mark.parametrize(("begin", "end"), [(-2, -1), (1, 2)], ids=["it has ended", "it has not begun"])
def test_a_certificate_at_another_time(encrypted: Encrypted, tmp_path: Path, begin: int, end: int) -> None:
    pair = encrypted.servers.server(timedelta(hours=begin), timedelta(hours=end))
    certificate, key = pair.write(tmp_path, "server")
    refused_with(
        encrypted, (str(certificate), "valid"), KEYSVC_TLS_CERTIFICATE=str(certificate), KEYSVC_TLS_KEY=str(key)
    )


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1())], ids=["Ed25519", "P-521"]
)
def test_a_kind_of_key_that_grpc_could_not_serve(
    encrypted: Encrypted, tmp_path: Path, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    certificate, file = encrypted.servers.server(key=key).write(tmp_path, "server")
    refused_with(
        encrypted, (str(certificate), "P-256"), KEYSVC_TLS_CERTIFICATE=str(certificate), KEYSVC_TLS_KEY=str(file)
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEYSVC_TLS_CERTIFICATE", "server.pem"),
        ("KEYSVC_TLS_KEY", "server.key"),
        ("KEYSVC_TLS_CLIENT_CA", "ca.pem"),
        ("KEYSVC_MTLS_LISTEN", "127.0.0.1:0"),
    ],
)
def test_dev_takes_no_certificates_of_others(tmp_path: Path, name: str, value: str) -> None:
    settings = {"KEYSVC_HOME": str(tmp_path / "home"), "KEYSVC_LISTEN": "127.0.0.1:0", name: value}
    assert_refused(run("dev", settings=settings), name, "--tls")


def test_both_lines_that_dev_prints_work_as_printed(tmp_path: Path) -> None:
    """One by the password, one by the administrator's certificate; also after a restart, and with an odd home."""
    home = tmp_path / "it's my $HOME; really (100%)?"
    for _ in range(2):
        with serving("dev --tls", {**LISTEN, "KEYSVC_HOME": str(home)}, tmp_path) as running:
            lines = [line.strip() for line in running.output.read_text().splitlines() if "grpcurl" in line]
            assert [running.address, running.mtls_address] == [line.split()[-2] for line in lines]
            for line in lines:
                done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
                assert (0, "", "{\n  \n}\n") == (done.returncode, done.stderr, done.stdout)
            assert 0 == running.stop()
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (home / "tls").iterdir()}


def test_a_unix_socket_and_tls_go_together(tmp_path: Path) -> None:
    listen = {"KEYSVC_LISTEN": f"unix:{tmp_path}/one", "KEYSVC_MTLS_LISTEN": f"unix:{tmp_path}/two"}
    with serving("dev --tls", listen, tmp_path) as running:
        lines = [line.strip() for line in running.output.read_text().splitlines() if "grpcurl" in line]
        assert 2 == len(lines)
        for line in lines:
            done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert (0, "") == (done.returncode, done.stderr)
        assert 0 == running.stop()


def test_the_certificate_of_another_home_is_nobodys(tmp_path: Path) -> None:
    with serving("dev --tls", LISTEN, tmp_path) as running:
        ca = (tmp_path / "var" / "tls" / "ca.pem").read_bytes()
        stranger = Authority("keysvc dev CA").client(uri("spiffe://keysvc.dev/admin"))
        trust = trusting(ca, stranger)
        with Client(running.mtls_address, None, trust) as client, pytest.raises(Exception, match="UNAVAILABLE"):
            ask(client, "ListMerchants")
        assert 0 == running.stop()
