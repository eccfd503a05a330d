"""The bytes of a call on a connection, by HTTP/2 and by HTTP/1.1: for a load that is paced, which h2load's is not.

h2load paces by a timer of 10 ms or more (--rps), so that its calls come in bunches.
"""

from __future__ import annotations

import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from urllib.parse import urlsplit

from bench.load import Post, WrongAnswer

_CALL_SECONDS = 20.0
_READ_BYTES = 1 << 18
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
# RFC 9113: frames (6), windows (6.9.1); RFC 7541: literals that are kept, and their indexes (6.1, 6.2.1, 2.3.3).
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_FRAME_HEADER, _END_STREAM, _ACK, _END_HEADERS = 9, 1, 1, 4
_FIRST_WINDOW, _LARGEST_WINDOW = 65_535, 2**31 - 1
_FIRST_KEPT, _SHORT = 62, 127


class Wire(ABC):
    """One connection. It is not locked: one thread uses it."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._url = urlsplit(post.url)
        self._socket = socket.create_connection((self._url.hostname, self._url.port), _CALL_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @property
    @abstractmethod
    def free(self) -> bool:
        """A call can be sent now."""

    @abstractmethod
    def send(self, call: int) -> None:
        """Begins a call that has this number."""

    @abstractmethod
    def answered(self) -> Iterator[int]:
        """Reads once, and tells which calls have been answered since. Raises WrongAnswer."""

    def _receive(self) -> None:
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise WrongAnswer(f"{self._url.netloc} closed a connection")
        self._read += data

    def _check(self, answer_bytes: int) -> None:
        """Of the length alone, as with h2load; an answer that says no has another."""
        if answer_bytes != self._post.answer_bytes:
            raise WrongAnswer(f"an answer of {answer_bytes} bytes, and a right answer has {self._post.answer_bytes}")


class Http1(Wire):
    """One call at a time."""

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        lines = [f"POST {self._url.path} HTTP/1.1", f"host: {self._url.netloc}", *post.headers]
        head = "\r\n".join([*lines, f"content-length: {len(post.body)}", "", ""])
        self._request = head.encode() + post.body
        self._call: int | None = None

    @property
    def free(self) -> bool:
        return self._call is None

    def send(self, call: int) -> None:
        self._call = call
        self._socket.sendall(self._request)

    def answered(self) -> Iterator[int]:
        self._receive()
        head, end, body = self._read.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or (length and len(body) < int(length[1])):
            return
        if self._call is None or not length or not head.startswith(b"HTTP/1.1 200"):
            raise WrongAnswer(f"{self._url.netloc} answered {head.decode(errors='replace')}")
        self._check(len(body))
        call, self._call, self._read = self._call, None, b""
        yield call


class Http2(Wire):
    """Any number of calls at a time, as gRPC has them."""

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        headers = [(":method", "POST"), (":scheme", self._url.scheme), (":path", self._url.path)]
        headers += [(":authority", self._url.netloc)]
        headers += [(name, value) for name, _, value in (header.partition(": ") for header in post.headers)]
        self._headers = b"".join(b"\x40" + _text(name) + _text(value) for name, value in headers)
        """In the first call. The server keeps them in its table, the last one first, and later calls name them."""
        self._indexes = bytes(0x80 | _FIRST_KEPT + place for place in reversed(range(len(headers))))
        self._window = _FIRST_WINDOW
        self._next = 1
        self._calls: dict[int, int] = {}
        self._answers: dict[int, int] = {}
        self._socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_WINDOW_UPDATE, 0, 0, (_LARGEST_WINDOW - _FIRST_WINDOW).to_bytes(4, "big"))
        )  # fmt: skip

    @property
    def free(self) -> bool:
        return self._window >= len(self._post.body)

    def send(self, call: int) -> None:
        stream, headers = self._next, self._headers if self._next == 1 else self._indexes
        self._next += 2
        self._window -= len(self._post.body)
        self._calls[stream], self._answers[stream] = call, 0
        self._socket.sendall(
            _frame(_HEADERS, _END_HEADERS, stream, headers) + _frame(_DATA, _END_STREAM, stream, self._post.body)
        )

    def answered(self) -> Iterator[int]:
        self._receive()
        for kind, flags, stream, payload in self._frames():
            if kind == _DATA:
                self._answers[stream] += len(payload)
            elif kind in (_RST_STREAM, _GOAWAY):
                raise WrongAnswer(f"{self._url.netloc} ended a call or all of them")
            elif kind == _WINDOW_UPDATE and not stream:
                self._window += int.from_bytes(payload, "big")
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._socket.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                self._check(self._answers.pop(stream))
                yield self._calls.pop(stream)

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of those that have come whole."""
        data, at = self._read, 0
        while len(data) >= at + _FRAME_HEADER:
            begin = at + _FRAME_HEADER
            end = begin + int.from_bytes(data[at : at + 3], "big")
            if len(data) < end:
                break
            yield data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : begin], "big"), data[begin:end]
            at = end
        self._read = data[at:]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _text(text: str) -> bytes:
    """A string of HPACK, not compressed (RFC 7541, 5.1 and 5.2)."""
    raw, length = text.encode(), len(text.encode())
    if length < _SHORT:
        return bytes((length,)) + raw
    assert length - _SHORT < 0x80, "no header of the bench is so long"
    return bytes((_SHORT, length - _SHORT)) + raw
