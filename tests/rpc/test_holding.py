"""What is held back in the kernel while a server stops, on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from support.waiting import until

from keysvc.rpc.holding import Inbound

SOON = 0.5
LATER = 5.0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def inbound(listener: socket.socket) -> Inbound:
    return Inbound([f"127.0.0.1:{listener.getsockname()[1]}", "unix:/nowhere"])


def connected(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A client's end, and the server's."""
    client = socket.create_connection(listener.getsockname(), timeout=SOON)
    server, _ = listener.accept()
    server.settimeout(SOON)
    return client, server


def test_what_was_taken_in_is_unread_until_it_is_read(listener: socket.socket, inbound: Inbound) -> None:
    client, server = connected(listener)
    with client, server:
        assert not inbound.is_unread()
        client.send(b"taken in")
        until(inbound.is_unread)
        inbound.hold_data()
        client.send(b" and held back")
        assert b"taken in" == server.recv(100)
        assert not inbound.is_unread()


def test_data_is_held_back_and_comes_when_it_is_let_in_while_answers_go_out(
    listener: socket.socket, inbound: Inbound
) -> None:
    client, server = connected(listener)
    with client, server:
        inbound.hold_data()
        client.sendall(b"held")
        with pytest.raises(TimeoutError):
            server.recv(10)
        server.sendall(b"answer")
        assert b"answer" == client.recv(10)
        inbound.let_data_in()
        server.settimeout(LATER)
        assert b"held" == server.recv(10)


def test_no_connection_is_made_and_those_that_there_are_go_on(listener: socket.socket, inbound: Inbound) -> None:
    waiting = socket.create_connection(listener.getsockname(), timeout=SOON)
    inbound.hold_connections()
    with pytest.raises(TimeoutError):
        socket.create_connection(listener.getsockname(), timeout=SOON)
    with waiting, listener.accept()[0] as server:
        waiting.sendall(b"m")
        assert b"m" == server.recv(10)


def test_other_ports_are_left_alone(inbound: Inbound) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        inbound.hold_connections()
        inbound.hold_data()
        client, server = connected(other)
        with client, server:
            inbound.hold_data()
            client.sendall(b"m")
            assert b"m" == server.recv(10)
