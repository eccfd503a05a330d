"""What is held back in the kernel while a server stops, on real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from keysvc.rpc.holding import Inbound

SOON = 0.5
NOBODY = 65534
MUCH = 1_000_000
"""Bytes. What HTTP/2 lets a client send before it is answered, and more."""


@pytest.fixture(params=[("127.0.0.1", "127.0.0.1"), ("::", "127.0.0.1"), ("::", "::1")], ids=" from ".join)
def hosts(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Where a server listens, and where a client finds it."""
    if request.param[0] == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    listens, found = request.param
    return listens, found


@pytest.fixture
def listener(hosts: tuple[str, str]) -> Iterator[socket.socket]:
    both = hosts[0] == "::"
    family = socket.AF_INET6 if both else socket.AF_INET
    with socket.create_server((hosts[0], 0), family=family, dualstack_ipv6=both) as made:
        yield made


@pytest.fixture
def address(listener: socket.socket, hosts: tuple[str, str]) -> tuple[str, int]:
    return hosts[1], listener.getsockname()[1]


@pytest.fixture
def inbound(listener: socket.socket) -> Inbound:
    return Inbound([f"127.0.0.1:{listener.getsockname()[1]}", "unix:/nowhere"])


def called(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=SOON)


def taken(listener: socket.socket) -> socket.socket:
    server, _ = listener.accept()
    server.settimeout(SOON)
    return server


def as_nobody(do: Callable[[], None]) -> None:
    """In a process without any privilege, which shares this one's sockets."""
    child = os.fork()
    if child == 0:
        try:
            os.setuid(NOBODY)
            do()
            os._exit(0)
        finally:
            os._exit(1)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_data_is_held_back_and_comes_when_it_is_let_in_while_answers_go_out(
    listener: socket.socket, address: tuple[str, int], inbound: Inbound
) -> None:
    with called(address) as client, taken(listener) as server:
        as_nobody(inbound.hold_data)
        client.sendall(b"held")
        with pytest.raises(TimeoutError):
            server.recv(10)
        server.sendall(b"answer")
        assert b"answer" == client.recv(10)
        as_nobody(inbound.let_data_in)
        assert b"held" == server.recv(10)


def test_as_much_is_held_back_as_a_client_may_send(
    listener: socket.socket, address: tuple[str, int], inbound: Inbound
) -> None:
    with called(address) as client, taken(listener) as server:
        inbound.hold_data()
        client.sendall(bytes(MUCH))
        with pytest.raises(TimeoutError):
            server.recv(10)


def test_no_connection_is_made_and_those_that_there_are_go_on(
    listener: socket.socket, address: tuple[str, int], inbound: Inbound
) -> None:
    waiting = called(address)
    as_nobody(inbound.hold_connections)
    with pytest.raises(TimeoutError):
        called(address)
    with waiting, taken(listener) as server:
        waiting.sendall(b"m")
        assert b"m" == server.recv(10)


def test_a_connection_that_is_closed_with_something_held_back_ends_well(
    listener: socket.socket, address: tuple[str, int], inbound: Inbound
) -> None:
    """And is not reset, by which its client could lose the answer."""
    with called(address) as client:
        with taken(listener) as server:
            inbound.hold_data()
            client.sendall(b"held")
            server.sendall(b"answer")
            inbound.discard_data()
        client.sendall(b"later")
        assert b"answer" == client.recv(10)


def test_other_ports_are_left_alone(inbound: Inbound) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        inbound.hold_connections()
        with called(other.getsockname()) as client, taken(other) as server:
            inbound.hold_data()
            client.sendall(b"m")
            assert b"m" == server.recv(10)


def test_what_the_system_does_not_know_is_told_once(
    listener: socket.socket, inbound: Inbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keysvc.rpc.holding._IP_MINTTL", 12345)
    with capture_logs() as logged:
        inbound.hold_connections()
        inbound.hold_connections()
    assert [("drain.not_held", "Protocol not available")] == [(line["event"], line["reason"]) for line in logged]
