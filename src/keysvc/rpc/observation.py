"""What is told of every call: one line of the log, a count and a duration. Called once by each call, on its way out.

Only names go in, and the labels come from closed sets: nothing that a caller made up can become a
label, and no secret, message or MAC is ever handed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram

from keysvc.model.names import is_id
from keysvc.rpc.errors import CODES
from keysvc.service.verification import Result

OK = "OK"
CANCELLED = "CANCELLED"
"""The result of a stream that its caller left."""
OTHER = "OTHER"
"""The label of what is in no closed set."""
BUCKETS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: from an answer out of memory to one that waited for a database."""


class CallLine(NamedTuple):
    """One call, as it stands in the log. A tuple, since every call makes one."""

    ended: float
    """When, in seconds since 1970."""
    rpc: str
    """`Service/Method`"""
    principal: str
    """Empty where the caller proved nothing."""
    resource: str
    """Empty where the request named none that could be parsed."""
    result: str
    code: str
    seconds: float
    request_id: str


class Observer:
    """Counts calls and hands their lines on. Thread-safe."""

    def __init__(
        self,
        methods: Iterable[str],
        registry: CollectorRegistry,
        write: Callable[[CallLine], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`methods` are the gRPC paths that are served. `write` must not block."""
        self._calls = Counter("keysvc_calls_total", "Calls answered.", ["rpc", "code", "result"], registry=registry)
        durations = Histogram(
            "keysvc_call_seconds", "Time of a call, from when it had a thread to its answer.", ["rpc"],
            registry=registry, buckets=BUCKETS,
        )  # fmt: skip
        rpcs = {method: _short(method) for method in methods}
        self._rpcs = {method: (rpc, durations.labels(rpc).observe) for method, rpc in rpcs.items()}
        self._other = (OTHER, durations.labels(OTHER).observe)
        self._counted: dict[tuple[str, str, str], Callable[[], None]] = {}
        self._write = write
        self._clock = clock

    def told(  # noqa: PLR0913, PLR0917 - told once a call, in one place
        self, method: str, principal: str, resource: str, request_id: str, result: str, code: str, seconds: float
    ) -> None:
        """One call that ended. `result` is OK, a verification's result or an error's reason; `code` gRPC's name."""
        rpc, observe = self._rpcs.get(method, self._other)
        observe(seconds)
        count = self._counted.get((rpc, code, result)) or self._count(rpc, code, result)
        count()
        if request_id and not is_id(request_id):
            request_id = ""
        self._write(CallLine(self._clock(), rpc, principal, resource, result, code, seconds, request_id))

    def _count(self, rpc: str, code: str, result: str) -> Callable[[], None]:
        known_code, known_result = code in _CODES, result in _RESULTS
        child = self._calls.labels(rpc, code if known_code else OTHER, result if known_result else OTHER)
        if known_code and known_result:
            self._counted[rpc, code, result] = child.inc  # closed sets, so this cannot grow for ever
        return child.inc


def _short(method: str) -> str:
    """`Service/Method` of `/package.Service/Method`."""
    return method.rpartition(".")[2]


_CODES = frozenset(code.name for code in grpc.StatusCode)
_RESULTS = frozenset({OK, CANCELLED, "INTERNAL", *Result, *(error.reason for error in CODES)})
