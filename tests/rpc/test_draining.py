"""A server that stops: calls of which a part was received are let in whole, and streams that only wait end at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from support import healthcheck

from keysvc.rpc.draining import GRACE_SECONDS, Drain
from keysvc.rpc.health import new_servicer
from keysvc.rpc.holding import Inbound
from keysvc.rpc.intake import Intake
from keysvc.rpc.turn import Turn

PATH = "/test/Echo"


class Echo:
    """Answers when it is allowed to."""

    def __init__(self) -> None:
        self.allowed = threading.Event()
        self.allowed.set()

    def is_quick(self, _turn: Turn) -> bool:
        return False

    def answer(self, turn: Turn) -> bytes:
        assert self.allowed.wait(20)
        return turn.raw

    def overloaded(self, _turn: Turn) -> bytes:
        raise NotImplementedError


class Draining:
    """A server that is drained once, while a client looks."""

    def __init__(self) -> None:
        self.echo, self.health = Echo(), new_servicer()
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._intake = Intake(self._server, {PATH: self.echo}, lambda: 0, threads=4, most=100)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        self._intake.start()

    def drain(self) -> None:
        self.health.enter_graceful_shutdown()
        self.health.end_watches()
        Drain(self._server, Inbound([self.address]), self._intake).run()
        self._intake.close()


@pytest.fixture
def draining() -> Draining:
    return Draining()


@pytest.fixture
def channel(draining: Draining) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(draining.address, [("grpc.use_local_subchannel_pool", 1)]) as made:
        yield made


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def unary(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    return channel.unary_unary(PATH)


def test_a_call_whose_message_is_still_on_its_way_is_answered(
    draining: Draining, channel: grpc.Channel, threads: ThreadPoolExecutor
) -> None:
    """Its headers were received, so its client could not make it elsewhere."""
    unary(channel)(b"first", timeout=20)
    send = threading.Event()

    def message() -> Iterator[bytes]:
        assert send.wait(20)
        yield b"m"

    call: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(PATH)
    answer = call.future(message(), timeout=20)
    time.sleep(0.3)
    drained = threads.submit(draining.drain)
    time.sleep(0.15)
    send.set()
    assert b"m" == answer.result()
    drained.result(20)


def test_a_call_that_is_sent_while_others_finish_was_never_seen_here(
    draining: Draining, channel: grpc.Channel, threads: ThreadPoolExecutor
) -> None:
    """gRPC makes it elsewhere by itself, and here there is no elsewhere."""
    call = unary(channel)
    call(b"first", timeout=20)
    draining.echo.allowed.clear()
    in_flight = call.future(b"in flight", timeout=20)
    time.sleep(0.3)
    drained = threads.submit(draining.drain)
    time.sleep(0.4)
    held = call.future(b"held", timeout=20)
    time.sleep(0.3)
    assert (False, False) == (in_flight.done(), held.done())
    draining.echo.allowed.set()
    assert b"in flight" == in_flight.result()
    assert grpc.StatusCode.UNAVAILABLE is held.code()
    assert "refused" in held.details()
    drained.result(20)


def test_a_watch_of_health_is_told_the_end_and_does_not_hold_it_up(
    draining: Draining, channel: grpc.Channel, threads: ThreadPoolExecutor
) -> None:
    watch = healthcheck.watch(channel)
    assert healthcheck.SERVING == next(watch).status
    begun = time.monotonic()
    drained = threads.submit(draining.drain)
    assert [healthcheck.NOT_SERVING] == [news.status for news in watch]
    drained.result(20)
    assert GRACE_SECONDS / 2 > time.monotonic() - begun
