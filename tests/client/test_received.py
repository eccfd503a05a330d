"""Requests as web frameworks hand them over: each class here has the shape of one, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from email.message import Message
from typing import Any

import pytest

from keysvc.client import ReceivedWebhook
from keysvc.client.received import headers_of, received, received_async

BODY = b'{"caf\xc3\xa9": 1}'
HEADERS = {"Webhook-Id": "msg_1"}


class Werkzeug:
    """Flask's too."""

    headers = HEADERS

    def get_data(self) -> bytes:
        return BODY


class Django:
    headers = HEADERS
    body = BODY

    def read(self) -> bytes:
        raise AssertionError("the stream was read already")


class Starlette:
    """FastAPI's too."""

    headers = HEADERS

    async def body(self) -> bytes:
        return BODY


class Aiohttp:
    headers = HEADERS

    async def read(self) -> bytes:
        return BODY


class Quart:
    headers = HEADERS

    async def get_data(self) -> bytes:
        return BODY


class HttpServer:
    """What http.server calls a request: its body is a stream."""

    headers = HEADERS
    rfile = object()


class Text:
    headers = HEADERS
    body = BODY.decode()


class Stream:
    """Bottle's body."""

    headers = HEADERS
    body = object()


class MultiDict:
    def items(self) -> Iterator[tuple[str, str]]:
        yield from [("Stripe-Signature", "t=1,v1=aa"), ("stripe-signature", "t=2,v1=bb"), ("Host", "h")]


@pytest.mark.parametrize("request_class", [Werkzeug, Django])
def test_a_request_with_its_body_at_hand_is_read(request_class: type[Any]) -> None:
    got = received(request_class())
    assert (HEADERS, BODY) == (got.headers, got.body)


@pytest.mark.parametrize("request_class", [Werkzeug, Django, Starlette, Aiohttp, Quart])
def test_with_asyncio_any_request_is_read(request_class: type[Any]) -> None:
    got = asyncio.run(received_async(request_class()))
    assert (HEADERS, BODY) == (got.headers, got.body)


def test_what_was_received_otherwise_is_taken_as_it_is() -> None:
    given = ReceivedWebhook(HEADERS, BODY, "https://shop.example/hook", {"MAC": "00"})
    assert (given, given) == (received(given), asyncio.run(received_async(given)))


@pytest.mark.parametrize("request_class", [Starlette, Aiohttp, Quart])
def test_a_body_that_must_be_awaited_needs_the_asyncio_client(request_class: type[Any]) -> None:
    with pytest.raises(
        TypeError, match=rf"{request_class.__name__} must be awaited: use AsyncClient, or pass Received"
    ):
        received(request_class())


@pytest.mark.parametrize("request_class", [HttpServer, Text, Stream, dict, bytes])
def test_what_is_no_request_is_told_what_to_pass_instead(request_class: type[Any]) -> None:
    for read in (received, lambda request: asyncio.run(received_async(request))):
        with pytest.raises(TypeError, match=r"pass ReceivedWebhook\(headers, body\)"):
            read(request_class())


def email_headers() -> Message:
    """As http.server gives them."""
    message = Message()
    for name, value in MultiDict().items():
        message[name] = value
    return message


@pytest.mark.parametrize("headers", [MultiDict(), list(MultiDict().items()), email_headers()])
def test_a_header_given_twice_stays_so(headers: Any) -> None:
    """Its case does not make it another one."""
    assert {"stripe-signature": "t=1,v1=aa", "STRIPE-SIGNATURE": "t=2,v1=bb", "host": "h"} == headers_of(headers)


def test_others_secrets_are_not_sent_on() -> None:
    given = {"Authorization": "Basic eA==", "COOKIE": "session=1", "Proxy-Authorization": "x", "X-Hub-Signature": "s"}
    assert {"x-hub-signature": "s"} == headers_of(given)


def test_bytes_of_asgi_are_read_as_latin_1() -> None:
    assert {"x": "\xe9"} == headers_of([(b"X", b"\xe9")])


def test_text_that_is_no_unicode_does_not_break_the_call() -> None:
    """aiohttp keeps such bytes as lone surrogates, and a stranger may send them."""
    assert {"x?": "a?b"} == headers_of({"x\udc80": "a\udcffb"})


def test_a_value_that_is_no_text_is_told() -> None:
    with pytest.raises(TypeError, match="are text, not list"):
        headers_of({"x": ["a", "b"]})  # type: ignore[arg-type]
