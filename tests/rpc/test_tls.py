"""TLS: what is served, and that new files are taken over while calls go on."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from support.asking import ask
from support.certificates import Authority, Pair, uri
from support.encrypted import Encrypted, create_auditor, make_encrypted, trusting
from support.metrics import ANY_PORT, Metrics
from support.program import Running
from support.server import Client
from support.waiting import code_of

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
AUDITOR = "spiffe://example.org/auditor"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Encrypted:
    return make_encrypted(tmp_path_factory.mktemp("tls") / "all")


@pytest.fixture
def encrypted(made: Encrypted) -> Encrypted:
    """With the files as they were made, whatever a test before did to them."""
    made.write_certificates()
    return made


@pytest.fixture
def running(encrypted: Encrypted) -> Iterator[Running]:
    with encrypted.serving(**ANY_PORT) as served:
        yield served
        assert 0 == served.stop()


def served_at(address: str) -> str:
    """The PEM of the certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connected(address, context) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")


def connected(address: str, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    host, _, port = address.rpartition(":")
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection((host, int(port)), timeout=10)
    return context.wrap_socket(plain, server_hostname=host, session=session)


def in_file(encrypted: Encrypted) -> str:
    return (encrypted.directory / "server.pem").read_text()


def end_in(pem: str) -> float:
    return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp()


def end_in_metrics(running: Running) -> float:
    return Metrics(running.output).value("keysvc_certificate_expiry_timestamp_seconds")


def told(running: Running, event: str) -> int:
    """How many lines of the log hold the event."""
    return running.output.read_text().count(f'"event": "{event}"')


def replace_file(path: Path, contents: bytes) -> None:
    """As a program that renews certificates does: the new file in the place of the old, at once."""
    new = path.with_suffix(".renewed")
    new.touch(mode=0o600)
    new.write_bytes(contents)
    new.replace(path)


def replace_pair(encrypted: Encrypted, pair: Pair) -> None:
    replace_file(encrypted.directory / "server.pem", pair.certificate)
    replace_file(encrypted.directory / "server.key", pair.key)


def replace_with_an_open_key(encrypted: Encrypted) -> None:
    replace_pair(encrypted, encrypted.servers.server())
    (encrypted.directory / "server.key").chmod(0o644)


def test_a_client_that_trusts_the_ca_is_served_and_another_is_not(encrypted: Encrypted, running: Running) -> None:
    with encrypted.admin(running) as client:
        ask(client, "ListMerchants")
    with Client(running.address, None, trusting(Authority("servers").pem)) as stranger:
        assert grpc.StatusCode.UNAVAILABLE == code_of(lambda: ask(stranger, "ListMerchants"))


def test_plain_calls_are_not_understood_and_the_server_goes_on(encrypted: Encrypted, running: Running) -> None:
    for address in (running.address, running.mtls_address):
        with Client(address, encrypted.production.admin_credentials.read_text()) as plain:
            assert grpc.StatusCode.UNAVAILABLE == code_of(lambda: ask(plain, "ListMerchants"))
    with encrypted.admin(running) as client:
        ask(client, "ListMerchants")


def test_tls_before_1_2_is_refused_by_the_server(running: Running) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"UNEXPECTED_EOF|ALERT_PROTOCOL_VERSION"):
        connected(running.address, context)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connected(running.address, context) as connection:
        assert "TLSv1.2" == connection.version()


@pytest.mark.long
def test_a_connection_that_says_nothing_is_closed(running: Running) -> None:
    host, _, port = running.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as silent:
        assert b"" == silent.recv(1)


def test_no_session_of_a_client_with_a_certificate_is_resumed(encrypted: Encrypted, running: Running) -> None:
    """TLS would not look at the certificate again, and it may have expired."""
    context = ssl.create_default_context(cadata=encrypted.servers.pem.decode())
    context.load_cert_chain(*encrypted.clients.client(uri(AUDITOR)).write(encrypted.directory, "client"))
    resumed = {}
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context.minimum_version = context.maximum_version = version
        for address in (running.address, running.mtls_address):
            session, _ = session_of(address, context, None)
            _, resumed[version, address] = session_of(address, context, session)
    assert {(version, address): address == running.address for version, address in resumed} == resumed


def session_of(
    address: str, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool | None]:
    """The session of a connection that the server answered on, and whether it was the one given."""
    with connected(address, context, session) as connection:
        connection.sendall(HTTP2_PREFACE)
        assert connection.recv(1) != b""
        return connection.session, connection.session_reused


def test_a_new_certificate_is_served_without_a_restart_and_old_connections_go_on(
    encrypted: Encrypted, running: Running
) -> None:
    with encrypted.admin(running) as client:
        ask(client, "ListMerchants")
        before = in_file(encrypted)
        assert [before] * 2 == [served_at(running.address), served_at(running.mtls_address)]
        assert end_in(before) == end_in_metrics(running)
        replace_pair(encrypted, encrypted.servers.server(end=timedelta(hours=3)))
        assert end_in(before) != end_in(in_file(encrypted)) == end_in_metrics(running)
        assert [in_file(encrypted)] * 2 == [served_at(running.address), served_at(running.mtls_address)]
        ask(client, "ListMerchants")
    assert (1, 0) == (told(running, "tls.reloaded"), told(running, "tls.reload_failed"))


def test_half_of_a_new_pair_leaves_the_old_one_in_use_and_is_told_once(encrypted: Encrypted, running: Running) -> None:
    before = in_file(encrypted)
    new = encrypted.servers.server()
    replace_file(encrypted.directory / "server.key", new.key)
    assert [before] * 3 == [served_at(running.address) for _ in range(3)]
    assert (0, 1) == (told(running, "tls.reloaded"), told(running, "tls.reload_failed"))
    replace_file(encrypted.directory / "server.pem", new.certificate)
    assert in_file(encrypted) == served_at(running.address) != before
    assert (1, 1) == (told(running, "tls.reloaded"), told(running, "tls.reload_failed"))


def test_files_that_cannot_be_served_leave_the_old_ones_in_use(encrypted: Encrypted, running: Running) -> None:
    before = in_file(encrypted)
    certificate, client_ca = encrypted.directory / "server.pem", encrypted.directory / "clients.pem"
    expired = encrypted.servers.server(end=-timedelta(minutes=1))
    broken: dict[str, Callable[[], object]] = {
        "cut off": lambda: replace_file(certificate, certificate.read_bytes()[:100]),
        "empty": lambda: replace_file(certificate, b""),
        "gone": certificate.unlink,
        "expired": lambda: replace_pair(encrypted, expired),
        "a key that others can read": lambda: replace_with_an_open_key(encrypted),
        "no client CA": lambda: client_ca.write_text(""),
    }
    for number, (what, breaks) in enumerate(broken.items(), start=1):
        encrypted.write_certificates()
        breaks()
        assert before == served_at(running.address), what
        assert number == told(running, "tls.reload_failed"), what
    assert 0 == told(running, "tls.reloaded")


def test_a_certificate_that_is_not_valid_yet_is_taken_when_it_is(encrypted: Encrypted, running: Running) -> None:
    """Renewed by a machine whose clock is ahead."""
    before = in_file(encrypted)
    replace_pair(encrypted, encrypted.servers.server(begin=timedelta(seconds=3)))
    assert before == served_at(running.address)
    time.sleep(4)
    assert in_file(encrypted) == served_at(running.address)


def test_clients_of_a_new_ca_are_let_in_and_those_of_the_old_one_no_more(
    encrypted: Encrypted, running: Running
) -> None:
    with encrypted.admin(running) as admin:
        create_auditor(admin, "auditor", AUDITOR)
    newer = Authority("newer clients")

    def answers() -> list[grpc.StatusCode]:
        codes = []
        for authority in (encrypted.clients, newer):
            with encrypted.certified(running, authority.client(uri(AUDITOR))) as client:
                codes.append(code_of(lambda: ask(client, "ListMerchants")))
        return codes

    both = encrypted.clients.pem + newer.pem
    shut, let_in = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK
    for pem, expected in (
        (encrypted.clients.pem, [let_in, shut]),
        (both, [let_in, let_in]),
        (newer.pem, [shut, let_in]),
    ):
        replace_file(encrypted.directory / "clients.pem", pem)
        assert expected == answers()
