"""TLS: whom the client trusts, and the certificate that it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from support.certificates import Authority, uri

from client.either import Open
from client.scripted import Scripted, scripted
from keysvc.client import CallFailed, Tls

CHANGE = "MerchantService/CreateMerchant"  # what is not tried again, so that a refusal is told at once


@dataclass(frozen=True)
class Encrypted:
    """A server that asks for certificates of its own authority, and the client's files."""

    script: Scripted
    tls: Tls


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority()
    pair = authority.server()
    certificate, key = authority.client(uri("spiffe://example.org/shop")).write(directory, "client")
    credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)], authority.pem, True)
    with scripted(credentials=credentials) as script:
        yield Encrypted(script, Tls(authority.write(directory / "ca.pem"), certificate, key))


def code_for(opened: Open, encrypted: Encrypted, tls: Tls) -> str:
    address = encrypted.script.address.replace("127.0.0.1", "localhost")
    with opened(address, tls=tls) as client:
        try:
            client.call(CHANGE, {})
        except CallFailed as failed:
            return failed.code
    return "OK"


def test_a_certificate_is_enough(opened: Open, encrypted: Encrypted) -> None:
    assert "OK" == code_for(opened, encrypted, encrypted.tls)
    assert "" == encrypted.script.headers[-1]


def test_without_a_certificate_a_server_that_asks_for_one_is_not_reached(opened: Open, encrypted: Encrypted) -> None:
    assert "UNAVAILABLE" == code_for(opened, encrypted, Tls(encrypted.tls.ca))


def test_a_server_of_another_authority_is_not_trusted(opened: Open, encrypted: Encrypted, tmp_path: Path) -> None:
    ca = Authority("another CA").write(tmp_path / "other.pem")
    assert "UNAVAILABLE" == code_for(opened, encrypted, Tls(ca, encrypted.tls.certificate, encrypted.tls.key))


def test_half_a_pair_is_refused_at_once(opened: Open) -> None:
    with pytest.raises(ValueError, match="needs its key"):
        opened("keysvc.example:443", tls=Tls(certificate="client.pem"))


def test_a_file_that_is_not_there_is_named(opened: Open) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pem"):
        opened("keysvc.example:443", tls=Tls(ca="nowhere.pem"))
