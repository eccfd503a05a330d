"""Ports that are kept for the workers of one service, on real sockets."""

from __future__ import annotations

import socket

import pytest

from keysvc.cli.ports import reserved
from keysvc.model.errors import Misconfigured


def listening(host: str, port: int, *, shared: bool) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    try:
        made.bind((host, port))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "0.0.0.0", "[::]"])
def test_workers_share_the_port_and_nobody_else_has_it(host: str) -> None:
    with reserved(f"{host}:0", "KEYSVC_LISTEN") as address:
        kept, _, text = address.rpartition(":")
        ip = socket.getaddrinfo(host.strip("[]"), 0)[0][4][0]
        assert (host, True) == (kept, int(text) > 0)
        with pytest.raises(OSError, match="in use"):
            listening(str(ip), int(text), shared=False)
        with (
            listening(str(ip), int(text), shared=True) as one,
            listening(str(ip), int(text), shared=True),
            socket.create_connection(one.getsockname()[:2], timeout=5),
        ):
            pass


@pytest.mark.parametrize("shared", [True, False])
def test_a_port_of_somebody_else_is_refused_also_where_that_would_share_it(shared: bool) -> None:
    with listening("127.0.0.1", 0, shared=shared) as stranger:
        listen = f"127.0.0.1:{stranger.getsockname()[1]}"
        with pytest.raises(Misconfigured, match=f"{listen}.*KEYSVC_LISTEN"), reserved(listen, "KEYSVC_LISTEN"):
            pass


def test_two_services_do_not_keep_the_same_port() -> None:
    """Also before any worker listens."""
    with (
        reserved("127.0.0.1:0", "KEYSVC_LISTEN") as address,
        pytest.raises(Misconfigured),
        reserved(address, "KEYSVC_LISTEN"),
    ):
        pass
    with reserved(address, "KEYSVC_LISTEN") as again:
        assert address == again
