"""Streams that say nothing, and streams that are left: they hold up no other call, and are no failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.asking import ask
from support.methods import REFLECTION
from support.server import Client, DevServer
from support.waiting import until

THREADS = 4


class Silent:
    """A stream of requests that never has one, until it is let go."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        self.over.wait(60)
        yield from ()


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    running = DevServer(tmp_path_factory.mktemp("streams") / "home", KEYSVC_THREADS=str(THREADS)).start()
    yield running
    assert 0 == running.stop()


@pytest.fixture
def caller(narrow: DevServer) -> Iterator[Client]:
    with narrow.client() as made:
        yield made


def opened(client: Client, requests: Any) -> Any:
    stream: Any = client.channel.stream_stream(REFLECTION)
    return stream(iter(requests), metadata=client.metadata)


def test_streams_that_say_nothing_hold_up_no_other_call(caller: Client) -> None:
    silent = [Silent() for _ in range(5 * THREADS)]
    streams = [opened(caller, each) for each in silent]
    for _ in range(3 * THREADS):
        ask(caller, "ListMerchants", page_size=1)
    for each, stream in zip(silent, streams, strict=True):
        each.over.set()
        assert [] == list(stream)


def test_a_stream_that_is_left_is_told_as_cancelled(narrow: DevServer, caller: Client) -> None:
    """Not every one: gRPC tells of a cancel in two events, and by the first it may look like the requests' end."""
    told = "ServerReflection/ServerReflectionInfo"
    for _ in range(10):
        silent = Silent()
        stream = opened(caller, silent)
        ask(caller, "ListMerchants", page_size=1)
        before = narrow.log.read_text().count(told)
        stream.cancel()
        until(lambda: narrow.log.read_text().count(told) > before)  # noqa: B023 - called before the next turn
        silent.over.set()
        if f"{told} CANCELLED" in narrow.log.read_text():
            break
    else:
        raise AssertionError("none was told as cancelled")
    assert "call.failed" not in narrow.log.read_text()
