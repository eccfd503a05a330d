"""Watching health, which takes no credentials, never stops the server: on a real socket, with health that flickers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from support import healthcheck

from keysvc.rpc.health import HealthMonitor, new_servicer

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
WATCHERS = 8


class Flickering:
    """A server whose health is well and unwell in turns."""

    def __init__(self) -> None:
        self.servicer = new_servicer()
        self.server = grpc.server(ThreadPoolExecutor(2))
        health_pb2_grpc.add_HealthServicer_to_server(self.servicer, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def flicker(self, times: int) -> None:
        for number in range(times):
            self.servicer.set("", SERVING if number % 2 else NOT_SERVING)


@pytest.fixture
def flickering() -> Iterator[Flickering]:
    made = Flickering()
    yield made
    made.server.stop(None).wait(10)


def _watch_briefly(address: str, done: threading.Event) -> int:
    """Watches, and leaves at once, again and again; returns how often."""
    times = 0
    with grpc.insecure_channel(address) as channel:
        while not done.is_set():
            watch = healthcheck.watch(channel)
            next(watch)
            watch.cancel()
            times += 1
    return times


def test_watchers_that_leave_while_health_changes_stop_nothing(flickering: Flickering) -> None:
    done = threading.Event()
    with ThreadPoolExecutor(WATCHERS) as watchers:
        watching = [watchers.submit(_watch_briefly, flickering.address, done) for _ in range(WATCHERS)]
        changing = threading.Thread(target=flickering.flicker, args=(20_000,), daemon=True)
        changing.start()
        changing.join(60)
        done.set()
        assert not changing.is_alive()
        assert all(0 < watch.result(20) for watch in watching)
    flickering.servicer.set("", SERVING)
    with grpc.insecure_channel(flickering.address) as channel:
        assert SERVING == healthcheck.check(channel)


def test_a_drain_tells_those_who_watch_and_ends(flickering: Flickering) -> None:
    monitor = HealthMonitor(flickering.servicer, (), [])
    monitor.start()
    with grpc.insecure_channel(flickering.address) as channel:
        watches = [healthcheck.watch(channel) for _ in range(WATCHERS)]
        assert [SERVING] * WATCHERS == [next(watch).status for watch in watches]
        monitor.drain()
        assert [NOT_SERVING] * WATCHERS == [next(watch).status for watch in watches]
        assert flickering.server.stop(0.1).wait(10)
