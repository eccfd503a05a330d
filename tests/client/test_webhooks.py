"""Webhooks as an endpoint receives them: signed by SignWebhook, sent over HTTP, verified in three lines."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from support.asking import slot_of
from support.server import DevServer

from keysvc.client import Basic, Client, ReceivedWebhook, Result, Scheme

BODY = b'{"event": "paid", "name": "caf\xc3\xa9"}\n'
URL = "https://shop.example/hook"
ADYEN = {
    "pspReference": "7914073381342284",
    "merchantAccountCode": "TestMerchant",
    "merchantReference": "TestPayment-1407325143704",
    "amount.value": "1130",
    "amount.currency": "EUR",
    "eventCode": "AUTHORISATION",
    "success": "true",
}
COMPUTOP = {"PayID": "1", "TransID": "2", "MerchantID": "m", "Amount": "3", "Currency": "EUR", "Status": "OK"}
IN_FIELDS = {Scheme.ADYEN_NOTIFICATION: ADYEN, Scheme.COMPUTOP_REQUEST: COMPUTOP, Scheme.COMPUTOP_NOTIFY: COMPUTOP}


@dataclass
class Flask:
    """A request of Flask's shape."""

    headers: Any
    data: bytes

    def get_data(self) -> bytes:
        return self.data


@pytest.fixture
def paid(keysvc: Any, merchant: str) -> str:
    """A merchant with an HMAC key."""
    keysvc.create_credential(slot_of(merchant, "primary-hmac-key"))
    return merchant


def sign(keysvc: Any, merchant: str, scheme: Scheme, **options: Any) -> dict[str, str]:
    event = {"event_id": "msg_1"} if scheme is Scheme.STANDARD_WEBHOOKS else {}
    url = {"url": URL} if scheme is Scheme.SQUARE else {}
    return dict(keysvc.sign_webhook(merchant, scheme, BODY, **event, **url, **options).headers)


@pytest.mark.parametrize("scheme", [scheme for scheme in Scheme if scheme not in IN_FIELDS])
def test_a_webhook_of_each_scheme_is_verified_by_its_headers(keysvc: Any, paid: str, scheme: Scheme) -> None:
    headers = sign(keysvc, paid, scheme)
    told = [
        keysvc.verify_webhook(paid, scheme, ReceivedWebhook(headers, body, url=URL)).result
        for body in (BODY, BODY + b" ")
    ]
    assert [Result.VALID, Result.INVALID] == told


@pytest.mark.parametrize("scheme", IN_FIELDS)
def test_a_webhook_of_each_scheme_is_verified_by_its_fields(keysvc: Any, paid: str, scheme: Scheme) -> None:
    signed = keysvc.sign_webhook(paid, scheme, b"", fields=IN_FIELDS[scheme])
    got = ReceivedWebhook(fields={**IN_FIELDS[scheme], **signed.fields})
    verdict = keysvc.verify_webhook(paid, scheme, got)
    assert (True, slot_of(paid, "primary-hmac-key"), 1) == (bool(verdict), verdict.credential, verdict.version)
    assert ((verdict.credential, 1),) == signed.signers


def test_a_frameworks_request_is_verified_as_it_is(keysvc: Any, paid: str) -> None:
    headers = {name.title(): value for name, value in sign(keysvc, paid, Scheme.GITHUB).items()}
    assert keysvc.verify_webhook(paid, Scheme.GITHUB, Flask({**headers, "Cookie": "session=1"}, BODY))


def test_a_scheme_may_be_given_by_its_name(keysvc: Any, paid: str) -> None:
    headers = sign(keysvc, paid, Scheme.GITHUB)
    assert keysvc.verify_webhook(paid, "GITHUB", ReceivedWebhook(headers, BODY))
    with pytest.raises(ValueError, match="'PAYPAL' is not a valid Scheme"):
        keysvc.verify_webhook(paid, "PAYPAL", ReceivedWebhook(headers, BODY))


@pytest.mark.parametrize("scheme", [Scheme.STANDARD_WEBHOOKS, Scheme.STRIPE, Scheme.SLACK_V0])
def test_the_tolerance_is_the_callers(keysvc: Any, paid: str, scheme: Scheme) -> None:
    headers = sign(keysvc, paid, scheme, time=datetime.now(UTC) - timedelta(minutes=10))
    request = ReceivedWebhook(headers, BODY)
    assert Result.STALE_TIMESTAMP == keysvc.verify_webhook(paid, scheme, request).result
    assert keysvc.verify_webhook(paid, scheme, request, tolerance=timedelta(minutes=11))


@pytest.mark.parametrize("scheme", [scheme for scheme in Scheme if scheme not in IN_FIELDS])
def test_a_header_given_twice_is_malformed(keysvc: Any, paid: str, scheme: Scheme) -> None:
    """In whatever case: both reach the server."""
    headers = sign(keysvc, paid, scheme)
    twice = [*headers.items(), *((name.upper(), value) for name, value in headers.items())]
    told = keysvc.verify_webhook(paid, scheme, ReceivedWebhook(twice, BODY, url=URL))
    assert Result.MALFORMED_SIGNATURE == told.result


def test_a_strangers_bytes_are_answered(keysvc: Any, paid: str) -> None:
    """aiohttp hands over a header's wrong bytes as lone surrogates."""
    request = ReceivedWebhook({"X-Hub-Signature-256": "sha256=\udcff"}, BODY)
    assert Result.MALFORMED_SIGNATURE == keysvc.verify_webhook(paid, Scheme.GITHUB, request).result


@contextmanager
def endpoint(keysvc: Client, merchant: str) -> Iterator[int]:
    """Serves on loopback; answers with its port."""

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ReceivedWebhook(self.headers.items(), self.rfile.read(int(self.headers["Content-Length"])))
            verdict = keysvc.verify_webhook(merchant, Scheme.STANDARD_WEBHOOKS, request)
            self.send_response(204 if verdict else 400)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        try:
            yield http_server.server_address[1]
        finally:
            http_server.shutdown()
            thread.join()


def post(port: int, headers: list[tuple[str, str]], body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("POST", "/hook")
    for name, value in [*headers, ("Content-Length", str(len(body)))]:
        connection.putheader(name, value)
    connection.endheaders(body)
    status = connection.getresponse().status
    connection.close()
    return status


def test_an_endpoint_takes_what_was_signed_and_nothing_else(server: DevServer, paid: str, credentials: Any) -> None:
    with Client(server.address, Basic.from_file(credentials)) as keysvc, endpoint(keysvc, paid) as port:
        headers = list(sign(keysvc, paid, Scheme.STANDARD_WEBHOOKS).items())
        shouted = [(name.upper(), value) for name, value in reversed(headers)]
        told = [
            post(port, headers, BODY),
            post(port, shouted, BODY),
            post(port, headers, BODY[:-1]),
            post(port, [*headers, headers[0]], BODY),
            post(port, [], BODY),
        ]
    assert [204, 204, 400, 400, 400] == told
