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
            for family, _, _, _, place in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
                # The first one's port is that of all the others: localhost has two addresses.
                port = _free(family, (place[0], port, *place[2:]))
                stack.enter_context(_kept(family, (place[0], port, *place[2:])))
        except OSError:
            raise Misconfigured(
                f"Cannot listen on {listen}: is the port taken? Set {variable} to another address"
            ) from None
        yield f"{host}:{port}"


def _free(family: int, place: tuple[object, ...]) -> int:
    """The port, if nobody has it: bound to be shared, it would be had beside a stranger. Raises OSError."""
    with _socket(family, socket.SO_REUSEADDR) as probe:  # of connections that ended a moment ago nothing is left
        probe.bind(place)
        port: int = probe.getsockname()[1]
        return port


def _kept(family: int, place: tuple[object, ...]) -> socket.socket:
    """Bound so that only processes of this user that share it have it too. Raises OSError."""
    kept = _socket(family, socket.SO_REUSEPORT)
    try:
        kept.bind(place)
    except OSError:
        # Remains of connections to a process that did not share it, for a minute. The next best: whoever binds
        # it as servers do may have it too, but only while no worker listens.
        kept.close()
        kept = _socket(family, socket.SO_REUSEPORT)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(place)
    return kept


def _socket(family: int, option: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, option, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made
