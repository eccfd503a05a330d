"""A webhook as it arrived: taken from the requests of web frameworks by their shape, or given as ReceivedWebhook."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

_BODIES = ("get_data", "body", "read")
"""Flask, Werkzeug and Quart; Django, Starlette and Tornado; aiohttp. In this order: Django's `read` is a stream's."""
_SECRETS = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers that are others' secrets, and no scheme's signature."""
_INSTEAD = "pass ReceivedWebhook(headers, body) with the body's bytes as they were received"


@dataclass(frozen=True, slots=True)
class ReceivedWebhook:
    """What was received. `url` is for SQUARE, `fields` for the schemes that sign fields."""

    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    url: str = ""
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)


def received(request: object) -> ReceivedWebhook:
    """Raises TypeError for what is no request, and for one whose body must be awaited."""
    if isinstance(request, ReceivedWebhook):
        return request
    body = _body_of(request)
    if inspect.isawaitable(body):
        if inspect.iscoroutine(body):
            body.close()
        raise TypeError(f"The body of a {_type(request)} must be awaited: use AsyncClient, or {_INSTEAD}")
    return _received(request, body)


async def received_async(request: object) -> ReceivedWebhook:
    """As `received`, and awaits a body that is to be awaited."""
    if isinstance(request, ReceivedWebhook):
        return request
    body = _body_of(request)
    return _received(request, await body if inspect.isawaitable(body) else body)


def headers_of(headers: Headers) -> dict[str, str]:
    """By lower-case names. The wire's map holds a name once, and keysvc matches names without case: so one that was
    given again stands in upper case too, and is seen to be given twice. Joined, it could pass for a list of signatures.
    """
    told: dict[str, str] = {}
    pairs: Iterable[tuple[Any, Any]] = headers.items() if hasattr(headers, "items") else headers
    for given, value in pairs:
        name = _text(given).lower()
        if name not in _SECRETS:
            told[name.upper() if name in told else name] = _text(value)
    return told


def _received(request: Any, body: object) -> ReceivedWebhook:
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"The body of a {_type(request)} is {_type(body)}, not bytes: {_INSTEAD}")
    return ReceivedWebhook(request.headers, bytes(body))


def _body_of(request: object) -> Any:
    """The body, or what is to be awaited for it."""
    if hasattr(request, "headers"):
        for name in _BODIES:
            found = getattr(request, name, None)
            if found is not None:
                return found() if callable(found) else found
    raise TypeError(f"A {_type(request)} has no headers and body that are known here: {_INSTEAD}")


def _text(value: object) -> str:
    """Bytes that are no UTF-8 cannot cross the wire, and are in no signature: each becomes a question mark."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    raise TypeError(f"A header's name and value are text, not {_type(value)}: {_INSTEAD}")


def _type(value: object) -> str:
    return type(value).__name__
