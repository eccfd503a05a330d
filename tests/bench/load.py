"""The two load generators, and the check that what they were answered is right.

`h2load` is faster than any server in Python, but sends one body only and looks at no answer's text.
Threads of a Python client send varied bodies and compare every answer.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from bench.cores import cpu_seconds
from bench.figures import quantile

VERIFY = "/keysvc.v1.CredentialService/VerifyHmac"
PREFIX_BYTES = 5
"""Before each message of gRPC: a flag and its length (PROTOCOL-HTTP2.md, Length-Prefixed-Message)."""
_CALL_SECONDS = 20.0
_TIME = re.compile(r"finished in ([\d.]+)(us|ms|s),")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_DONE = re.compile(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed")
_GOOD = re.compile(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx")
_DATA = re.compile(r"headers \([^)]*\), \S+ \((\d+)\) data")


class WrongAnswer(RuntimeError):
    """A server under load did not answer what is right: its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it is on the wire, and the one right answer to it."""

    request: bytes = field(repr=False)
    answer: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """A server's method, and the header that it takes."""

    address: str
    pids: tuple[int, ...]
    """Of the processes that serve it."""
    authorization: str = field(repr=False)
    method: str = VERIFY

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", self.authorization),)


@dataclass(frozen=True, slots=True)
class Post:
    """A request as h2load sends it, over and over."""

    url: str
    pids: tuple[int, ...]
    """Of the server."""
    headers: tuple[str, ...] = field(repr=False)
    body: bytes = field(repr=False)
    answer_bytes: int
    connections: int
    streams: int = 0
    """How many calls each of them has in flight, by HTTP/2; 0 is one, by HTTP/1.1."""

    @property
    def in_flight(self) -> int:
        return self.connections * max(1, self.streams)


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds until calls were answered."""

    p50: float
    p99: float

    @classmethod
    def of(cls, taken: Iterable[float]) -> Times:
        ordered = sorted(taken)
        return cls(quantile(ordered, 0.5), quantile(ordered, 0.99))


@dataclass(frozen=True, slots=True)
class Burst:
    """What one round of load found."""

    calls: int
    calls_per_second: float
    cpu_per_call: float
    """Seconds of the server's processor time."""
    times: Times | None = None
    """None by the Python client, whose own time is a large part of it."""


def check(target: Target, question: Question) -> None:
    """One ordinary call. Raises WrongAnswer."""
    call_each(target, [question], in_flight=1)


def h2load(target: Target, question: Question, in_flight: int, seconds: float, connections: int = 1) -> Burst:
    """The calls are spread evenly over the connections. Raises WrongAnswer."""
    return post(posted(target, question, in_flight, connections), seconds)


def posted(target: Target, question: Question, in_flight: int, connections: int = 1) -> Post:
    """A call of gRPC as HTTP/2 carries it."""
    frame = b"\0" + len(question.request).to_bytes(PREFIX_BYTES - 1, "big") + question.request
    headers = ("content-type: application/grpc", "te: trailers", f"authorization: {target.authorization}")
    return Post(
        f"http://{target.address}{target.method}", target.pids, headers, frame, PREFIX_BYTES + len(question.answer),
        connections, in_flight // connections,
    )  # fmt: skip


def post(what: Post, seconds: float, calls: int | None = None) -> Burst:
    """By h2load, for so long; or so many calls, however long they take. Raises WrongAnswer.

    There is no --warm-up-time: h2load counts the bytes of its warm-up, but not the answers, and the
    check of the bytes would be lost. Callers warm up with a round that they do not count.
    """
    how_long = ("-D", f"{int(seconds * 1000)}ms") if calls is None else ("-n", str(calls))
    with tempfile.NamedTemporaryFile() as body, tempfile.NamedTemporaryFile("r") as log:
        body.write(what.body)
        body.flush()
        before = cpu_seconds(*what.pids)
        text = _run_h2load(what, Path(body.name), "--log-file", log.name, *how_long)
        used = cpu_seconds(*what.pids) - before
        # When a call began, its status, and the microseconds that it took.
        taken = [int(line.split("\t")[2]) / 1e6 for line in log]
    return _read(text, what, used, taken)


def call_each(target: Target, questions: Iterable[Question], in_flight: int) -> Burst:
    """Each question once, by as many threads as calls are in flight. Raises WrongAnswer."""
    return _call(target, iter(questions), in_flight)


def call_for(target: Target, questions: list[Question], in_flight: int, seconds: float) -> Burst:
    """The questions in turn, over and over, for so long. Raises WrongAnswer."""

    def endless() -> Iterator[Question]:
        end = time.perf_counter() + seconds  # from the first call on, not from before the connection
        while time.perf_counter() < end:
            yield from questions

    return _call(target, endless(), in_flight)


def _call(target: Target, questions: Iterator[Question], in_flight: int) -> Burst:
    lock = threading.Lock()

    def work(ask: Callable[..., bytes]) -> int:
        for calls in itertools.count():
            with lock:
                question = next(questions, None)
            if question is None:
                return calls
            if ask(question.request, metadata=target.metadata, timeout=_CALL_SECONDS) != question.answer:
                raise WrongAnswer(f"{target.address} gave another answer than the right one")
        raise AssertionError  # counting does not end

    with grpc.insecure_channel(target.address) as channel, ThreadPoolExecutor(in_flight) as threads:
        grpc.channel_ready_future(channel).result(_CALL_SECONDS)
        ask: Callable[..., bytes] = channel.unary_unary(target.method)
        before, begin = cpu_seconds(*target.pids), time.perf_counter()
        calls = sum(threads.map(work, [ask] * in_flight))
        elapsed, used = time.perf_counter() - begin, cpu_seconds(*target.pids) - before
    return Burst(calls, calls / elapsed, used / calls)


def _run_h2load(what: Post, body: Path, *options: str) -> str:
    protocol = ("-m", str(what.streams)) if what.streams else ("--h1", "-m", "1")
    headers = itertools.chain.from_iterable(("-H", header) for header in what.headers)
    command = ["h2load", "-c", str(what.connections), *protocol, *options, "-d", str(body), *headers, what.url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _read(text: str, what: Post, used: float, taken: list[float]) -> Burst:
    """A refusal has status 200 too, and tells its grpc-status in trailers; but it has no data, or other data."""
    time_taken, done, good, data = (pattern.search(text) for pattern in (_TIME, _DONE, _GOOD, _DATA))
    if not (time_taken and done and good and data):
        raise WrongAnswer(f"h2load tells of failures, or is a version that this does not read:\n{text}")
    calls, succeeded, failed = (int(number) for number in done.groups())
    # When the time is up, some calls in flight have their data already, or the first part of it, but are not done.
    answers = int(data[1]) / what.answer_bytes
    all_right = calls <= answers <= calls + what.in_flight
    if not calls or failed or succeeded != calls or int(good[1]) < calls or not all_right:
        raise WrongAnswer(f"{calls} calls were answered {data[1]} bytes, and a right answer has {what.answer_bytes}")
    # Not by the rate that it tells: that is for the time asked for, which it overruns on a busy core.
    return Burst(calls, calls / (float(time_taken[1]) * _UNITS[time_taken[2]]), used / answers, Times.of(taken))
