"""Holding back in the kernel what clients send to a server that stops, so that none of it is half taken.

gRPC's server cancels calls that arrive after it was told to stop and before their clients know, and resets
connections that nobody has accepted yet. What TCP holds back is neither: a client that is told GOAWAY meanwhile
knows which calls were never seen, and makes them elsewhere by itself; a connection is asked for again after a
second. A socket filter does it (socket(7), SO_ATTACH_FILTER), for which no privilege is needed. On Linux, and
for TCP; elsewhere nothing is held.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import stat
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_CLOSED_IN_A_ROW = 4096
"""Descriptors are given from the lowest up: after so many that are not open there are no more."""

_INSTRUCTION = struct.Struct("HBBI")
_INT = struct.Struct("i")
_ALL = 0xFFFFFFFF
# Classic BPF over a TCP segment, which begins with its header (RFC 9293 section 3.1). 0 drops it.
_NO_CONNECTIONS = (
    (0x30, 0, 0, 13),  # A = the flags
    (0x54, 0, 0, 0x12),  # of which SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone asks for a connection
    (0x06, 0, 0, 0),
    (0x06, 0, 0, _ALL),
)
_NO_DATA = (
    (0x30, 0, 0, 12),  # A = the header's length, in its upper half, in words of four bytes
    (0x74, 0, 0, 4),
    (0x64, 0, 0, 2),
    (0x07, 0, 0, 0),  # X = A
    (0x80, 0, 0, 0),  # A = the segment's length
    (0x1C, 0, 0, 0),  # A - X: what is not header
    (0x15, 0, 1, 0),
    (0x06, 0, 0, _ALL),
    (0x06, 0, 0, 0),
)


class Inbound:
    """What comes in at some ports of this process. One thread uses it."""

    def __init__(self, addresses: list[str]) -> None:
        """`HOST:PORT` each; what is no port of TCP is left out."""
        self._ports = {int(address.rpartition(":")[2]) for address in addresses if not address.startswith("unix:")}

    def hold_connections(self) -> None:
        """No new ones: they are asked for again in a second, and by then may go to another process."""
        self._attach(_NO_CONNECTIONS, listening=True)

    def is_connected(self) -> bool:
        """Whether anybody is; True where that is not known."""
        return sys.platform != "linux" or not self._ports or any(True for _ in self._sockets(listening=False))

    def hold_data(self) -> None:
        """Nothing more on those that there are. What goes out goes on, and so do acknowledgements."""
        self._attach(_NO_DATA, listening=False)

    def is_unread(self) -> bool:
        """Whether the kernel has taken something in that gRPC has not read yet, as a busy machine may for a while."""
        return any(_unread(connection) for connection in self._sockets(listening=False))

    def let_data_in(self) -> None:
        """What was held back is sent again by TCP, a quarter of a second after it was sent last."""
        for connection in self._sockets(listening=False):
            with contextlib.suppress(OSError):  # it had no filter
                connection.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)

    def _attach(self, program: tuple[tuple[int, int, int, int], ...], *, listening: bool) -> None:
        code = b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
        buffer = ctypes.create_string_buffer(code, len(code))
        option = struct.pack("HL", len(program), ctypes.addressof(buffer))  # struct sock_fprog
        for found in self._sockets(listening=listening):
            with contextlib.suppress(OSError):  # its connection has ended
                found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)

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


def _unread(found: socket.socket) -> int:
    """Bytes (tcp(7), SIOCINQ); none of a connection that has ended."""
    try:
        answer = fcntl.ioctl(found, termios.FIONREAD, bytes(_INT.size))
    except OSError:
        return 0
    unread: int = _INT.unpack(answer)[0]
    return unread


def _listens(found: socket.socket) -> bool:
    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
