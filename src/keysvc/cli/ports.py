"""Ports that several processes of one service listen on, kept by the process that started them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from keysvc.model.errors import Misconfigured


@contextmanager
def reserved(listen: str, variable: str) -> Iterator[str]:
    """Binds HOST:PORT meanwhile, and takes no connections there; gives it with the port that was bound.

    So port 0 is the same port for all, and nobody else has it while none of them listens. Raises Misconfigured.
    """
    if listen.startswith("unix:"):
        raise Misconfigured(f"{variable} is {listen}: workers cannot share a Unix socket; set HOST:PORT, or one worker")
    host, _, text = listen.rpartition(":")
    port = int(text)
    with ExitStack() as stack:
        try:
            for family, kind, protocol, _, place in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
                taken = stack.enter_context(socket.socket(family, kind, protocol))
                # The first one's port is that of all the others: localhost has two addresses.
                port = _bind(taken, (place[0], port, *place[2:]))
        except OSError:
            raise Misconfigured(
                f"Cannot listen on {listen}: is the port taken? Set {variable} to another address"
            ) from None
        yield f"{host}:{port}"


def _bind(taken: socket.socket, place: tuple[object, ...]) -> int:
    """Shared only after it was bound alone: shared at once, it would be bound beside a stranger."""
    if taken.family == socket.AF_INET6:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    # Connections that ended a moment ago are nobody's.
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(place)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    port: int = taken.getsockname()[1]
    return port
