"""Holding back in the kernel what clients send to a server that stops, so that none of it is half taken.

gRPC's server cancels calls that arrive after it was told to stop and before their clients know, and resets
connections that nobody has accepted yet. What TCP holds back is neither: a client that is told GOAWAY meanwhile
knows which calls were never seen, and makes them elsewhere by itself; a connection is asked for again after a
second. Two socket options do it, for which no privilege is needed: docs/decisions/0021. On Linux, and for TCP;
elsewhere nothing is held.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

_IP_MINTTL = 21  # ip(7)
_IPV6_MINHOPCOUNT = 73  # linux/in6.h
_NOBODYS = 255
"""The highest TTL that there is. Systems send with 64 or 128: what has less than is asked for is not answered."""
_ANYBODYS = 0
_HANDSHAKE_SECONDS = 0.02
"""For connections that are half made, which begin with the TTL that was asked for at their port."""
_NEVER = 2**31 - 1
"""Bytes that must have come before gRPC is told. The kernel makes it half of the most that a connection may keep."""
_AT_ONCE = 1
_CHUNK, _CHUNKS = 65536, 1024
"""Bytes that are read off at once, and how often at most: a client may go on sending."""
_CLOSED_IN_A_ROW = 4096
"""Descriptors are given from the lowest up: after so many that are not open there are no more."""

log = structlog.get_logger(__name__)


class Inbound:
    """What comes in at some ports of this process. One thread uses it."""

    def __init__(self, addresses: list[str]) -> None:
        """`HOST:PORT` each; what is no port of TCP is left out."""
        self._ports = {int(address.rpartition(":")[2]) for address in addresses if not address.startswith("unix:")}
        self._told = False

    def hold_connections(self) -> None:
        """No new ones: they are asked for again in a second, and by then may go to another process."""
        self._ask_for_ttl(_NOBODYS, listening=True)
        time.sleep(_HANDSHAKE_SECONDS)
        self._ask_for_ttl(_ANYBODYS, listening=False)

    def is_connected(self) -> bool:
        """Whether anybody is; True where that is not known."""
        return sys.platform != "linux" or not self._ports or any(True for _ in self._sockets(listening=False))

    def hold_data(self) -> None:
        """gRPC is told of nothing more on the connections that there are, and reads nothing. What goes out goes on."""
        self._call_after(_NEVER)

    def let_data_in(self) -> None:
        """What was held back is there at once."""
        self._call_after(_AT_ONCE)

    def discard_data(self) -> None:
        """What was held back, before connections are closed: TCP resets one that is closed with something unread (RFC
        2525 section 2.17), and its client may lose what it was sent last."""
        for connection in self._sockets(listening=False):
            with contextlib.suppress(OSError):  # that was all
                for _ in range(_CHUNKS):
                    if not connection.recv(_CHUNK, socket.MSG_DONTWAIT):
                        break

    def _ask_for_ttl(self, least: int, *, listening: bool) -> None:
        for found in self._sockets(listening=listening):
            self._set(found, socket.IPPROTO_IP, _IP_MINTTL, least)
            if found.family == socket.AF_INET6:
                self._set(found, socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, least)

    def _call_after(self, received: int) -> None:
        for connection in self._sockets(listening=False):
            self._set(connection, socket.SOL_SOCKET, socket.SO_RCVLOWAT, received)

    def _set(self, found: socket.socket, level: int, option: int, value: int) -> None:
        try:
            found.setsockopt(level, option, value)
        except OSError as error:
            if not self._told:
                log.warning("drain.not_held", level=level, option=option, reason=error.strerror)
            self._told = True

    def _sockets(self, *, listening: bool) -> Iterator[socket.socket]:
        """A descriptor more of each, closed when the next is asked for: gRPC does not tell of its own."""
        if sys.platform != "linux" or not self._ports:
            return
        for number in _open_sockets():
            with _duplicate(number) as found:
                if found is not None and _port(found) in self._ports and _listens(found) == listening:
                    yield found


def _open_sockets() -> Iterator[int]:
    number, closed = 0, 0
    while closed < _CLOSED_IN_A_ROW:
        try:
            closed, mode = 0, os.fstat(number).st_mode
        except OSError:
            closed, mode = closed + 1, 0
        if stat.S_ISSOCK(mode):
            yield number
        number += 1


@contextmanager
def _duplicate(number: int) -> Iterator[socket.socket | None]:
    """None where it was closed, or turned into something else, meanwhile."""
    try:
        descriptor = os.dup(number)
    except OSError:
        yield None
        return
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        yield None
        return
    with found:
        yield found


def _port(found: socket.socket) -> int | None:
    if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM:
        return None
    try:
        port: int = found.getsockname()[1]
    except OSError:
        return None
    return port


def _listens(found: socket.socket) -> bool:
    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
