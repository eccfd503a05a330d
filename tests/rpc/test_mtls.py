"""Who is let in by a client certificate: the one SPIFFE URI of it, and nothing that looks like one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import grpc
import pytest
from cryptography import x509
from support.asking import ask, refused
from support.certificates import Authority, Pair, dns, uri
from support.encrypted import Encrypted, create_auditor, make_encrypted, trusting
from support.program import Running
from support.server import Client

AUDITOR = "spiffe://example.org/auditors/one"
STRANGER = "spiffe://example.org/auditors/nobody"


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Encrypted:
    return make_encrypted(tmp_path_factory.mktemp("mtls") / "all")


@pytest.fixture(scope="module")
def running(encrypted: Encrypted) -> Iterator[Running]:
    with encrypted.serving() as served:
        with encrypted.admin(served) as admin:
            create_auditor(admin, "auditor", AUDITOR)
        yield served
        assert 0 == served.stop()


@pytest.fixture(autouse=True)
def still_serving(encrypted: Encrypted, running: Running) -> Iterator[None]:
    """Whatever a client showed, the next one with the right certificate is served."""
    yield
    with encrypted.certified(running, encrypted.clients.client(uri(AUDITOR))) as client:
        ask(client, "ListMerchants", page_size=1)


def code_for(encrypted: Encrypted, running: Running, pair: Pair | None) -> grpc.StatusCode:
    with encrypted.certified(running, pair) as client:
        return refused(client, "ListMerchants").code


def test_one_spiffe_uri_is_who_calls(encrypted: Encrypted, running: Running) -> None:
    """With the rights of that principal, and no more."""
    with encrypted.certified(running, encrypted.clients.client(uri(AUDITOR))) as client:
        ask(client, "ListMerchants")
        assert "PERMISSION_DENIED" == refused(client, "CreateMerchant", merchant_id="m").reason


def test_a_dns_name_beside_the_uri_does_no_harm(encrypted: Encrypted, running: Running) -> None:
    """X.509-SVIDs may hold both."""
    pair = encrypted.clients.client(dns("auditor.example.org"), uri(AUDITOR))
    with encrypted.certified(running, pair) as client:
        ask(client, "ListMerchants")


NO_IDENTITY: dict[str, tuple[x509.GeneralName, ...]] = {
    "two SPIFFE URIs": (uri(AUDITOR), uri(STRANGER)),
    "two SPIFFE URIs, the right one last": (uri(STRANGER), uri(AUDITOR)),
    "the same SPIFFE URI twice": (uri(AUDITOR), uri(AUDITOR)),
    "another URI beside it": (uri(AUDITOR), uri("https://example.org/")),
    "a DNS name that looks like one": (dns(AUDITOR),),
    "a DNS name that looks like one, and a stranger's URI": (dns(AUDITOR), uri(STRANGER)),
    "an e-mail address": (x509.RFC822Name("auditor@example.org"),),
    "a URI of another scheme": (uri("https://example.org/auditors/one"),),
    "a trust domain alone": (uri("spiffe://example.org"),),
    "nobody's": (uri(STRANGER),),
    "a longer path": (uri(f"{AUDITOR}/more"),),
    "a slash more": (uri(f"{AUDITOR}/"),),
    "a NUL, and more": (uri(f"{AUDITOR}\0/more"),),
    "a query": (uri(f"{AUDITOR}?x=1"),),
    "another case": (uri(AUDITOR.replace("one", "ONE")),),
    "no name": (),
}


@pytest.mark.parametrize("names", NO_IDENTITY.values(), ids=list(NO_IDENTITY))
def test_any_other_certificate_of_the_ca_is_nobody(
    encrypted: Encrypted, running: Running, names: tuple[x509.GeneralName, ...]
) -> None:
    assert grpc.StatusCode.UNAUTHENTICATED == code_for(encrypted, running, encrypted.clients.client(*names))


def test_a_common_name_is_nobody(encrypted: Encrypted, running: Running) -> None:
    pair = encrypted.clients.client(common_name=AUDITOR)
    assert grpc.StatusCode.UNAUTHENTICATED == code_for(encrypted, running, pair)


def test_without_a_good_certificate_the_handshake_fails(encrypted: Encrypted, running: Running) -> None:
    strangers = Authority("clients")
    wrong = {
        "none": None,
        "another CA's, of the same name": strangers.client(uri(AUDITOR)),
        "an expired one": encrypted.clients.client(uri(AUDITOR), end=-timedelta(minutes=1)),
        "a server's": encrypted.clients.server(),
        "one of the server's CA": encrypted.servers.client(uri(AUDITOR)),
    }
    codes = {what: code_for(encrypted, running, pair) for what, pair in wrong.items()}
    assert dict.fromkeys(wrong, grpc.StatusCode.UNAVAILABLE) == codes


def test_on_the_main_address_a_certificate_is_not_asked_for(encrypted: Encrypted, running: Running) -> None:
    right = trusting(encrypted.servers.pem, encrypted.clients.client(uri(AUDITOR)))
    with Client(running.address, None, right) as client:
        assert "UNAUTHENTICATED" == refused(client, "ListMerchants").reason


def test_a_header_that_spells_the_spiffe_id_is_not_the_certificate(encrypted: Encrypted, running: Running) -> None:
    """Also after the certificate was used, and is remembered."""
    with encrypted.certified(running, encrypted.clients.client(uri(AUDITOR))) as client:
        ask(client, "ListMerchants")
    with Client(running.address, None, trusting(encrypted.servers.pem)) as client:
        client.metadata = (("authorization", AUDITOR),)
        assert "UNAUTHENTICATED" == refused(client, "ListMerchants").reason


def test_a_wrong_password_is_not_made_good_by_a_certificate(encrypted: Encrypted, running: Running) -> None:
    right = trusting(encrypted.servers.pem, encrypted.clients.client(uri(AUDITOR)))
    with Client(running.mtls_address, "admin:wrong", right) as client:
        assert "UNAUTHENTICATED" == refused(client, "ListMerchants").reason


def test_a_password_counts_where_certificates_are_shown_too(encrypted: Encrypted, running: Running) -> None:
    credentials = encrypted.production.admin_credentials.read_text()
    right = trusting(encrypted.servers.pem, encrypted.clients.client(uri(AUDITOR)))
    with Client(running.mtls_address, credentials, right) as client:
        assert "merchants/by-admin" == ask(client, "CreateMerchant", merchant_id="by-admin").name
