"""Calls whose ends and times are noted, and work that goes on in threads while something happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from support.asking import ask, result_of
from support.server import Client, Refusal

OUT_OF_REACH = "UNAVAILABLE STORE_UNAVAILABLE"
ANSWER_SECONDS = 2.0
"""In which every call that cannot be answered says so."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a call ended: OK, a verification's result, or a code with its reason. Times are of `time.monotonic`."""

    method: str
    result: str
    began: float
    seconds: float

    @property
    def ended(self) -> float:
        return self.began + self.seconds


@dataclass
class Timed:
    """Calls through one client; every end is kept. Thread-safe."""

    client: Client
    told: list[Told] = field(default_factory=list)

    def __call__(self, method: str, **fields: Any) -> tuple[Told, Any]:
        """How it ended; and the answer, None where it was refused."""
        answer, began = None, time.monotonic()
        try:
            answer = ask(self.client, method, **fields)
            result = result_of(answer) if method.startswith("Verify") else "OK"
        except grpc.RpcError as error:
            refusal = Refusal(error)
            result = f"{refusal.code.name} {refusal.reason}".strip()
        told = Told(method, result, began, time.monotonic() - began)
        self.told.append(told)
        return told, answer

    def since(self, instant: float) -> list[Told]:
        """The calls that began after it."""
        return [told for told in self.told if told.began > instant]


def slowest(told: list[Told]) -> float:
    """Seconds of the slowest of the calls."""
    return max((each.seconds for each in told), default=0.0)


def unanswered(told: list[Told]) -> list[Told]:
    """The calls that were told that the database is out of reach."""
    return [each for each in told if each.result == OUT_OF_REACH]


@contextmanager
def meanwhile(*works: Callable[[], object], pause: float = 0.005) -> Iterator[None]:
    """Does each again and again in a thread of its own, until the end. What one of them raises is raised here.

    `pause` is in seconds, before each time.
    """
    ended = threading.Event()

    def again(work: Callable[[], object]) -> None:
        while not ended.wait(pause):
            work()

    with ThreadPoolExecutor(len(works)) as threads:
        running = [threads.submit(again, work) for work in works]
        try:
            yield
        finally:
            ended.set()
    for each in running:
        each.result()
