"""What is told of every call: a line of names for the log, a count and a duration.

The labels come from closed sets, so nothing that a caller made up can become one; and no secret, message
or MAC is ever handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram

from keysvc.rpc.errors import CODES
from keysvc.service.trials import Result

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
    """Empty where there is none, or what there is is no id."""


Observer = Callable[[CallLine], None]
"""Is told of each call on its way out. Must not block."""


class CallCounts:
    """Counts calls and how long they took. For one thread: counting many at once costs a tenth of one by one."""

    def __init__(self, methods: Iterable[str], registry: CollectorRegistry) -> None:
        """`methods` are the gRPC paths that are served."""
        self._calls = Counter("keysvc_calls_total", "Calls answered.", ["rpc", "code", "result"], registry=registry)
        durations = Histogram(
            "keysvc_call_seconds", "Time of a call, from when its request was here to its answer.", ["rpc"],
            registry=registry, buckets=BUCKETS,
        )  # fmt: skip
        self._durations = {rpc: durations.labels(rpc).observe for rpc in (OTHER, *map(rpc_of, methods))}
        self._counted: dict[tuple[str, str, str], Callable[[], None]] = {}

    def count(self, lines: Iterable[CallLine]) -> None:
        for line in lines:
            rpc = line.rpc if line.rpc in self._durations else OTHER
            self._durations[rpc](line.seconds)
            count = self._counted.get((rpc, line.code, line.result)) or self._counter(rpc, line.code, line.result)
            count()

    def _counter(self, rpc: str, code: str, result: str) -> Callable[[], None]:
        known_code, known_result = code in _CODES, result in _RESULTS
        child = self._calls.labels(rpc, code if known_code else OTHER, result if known_result else OTHER)
        if known_code and known_result:
            self._counted[rpc, code, result] = child.inc  # closed sets, so this cannot grow for ever
        return child.inc


def rpc_of(method: str) -> str:
    """`Service/Method` of `/package.Service/Method`."""
    return method.rpartition(".")[2]


_CODES = frozenset(code.name for code in grpc.StatusCode)
_RESULTS = frozenset({OK, CANCELLED, "INTERNAL", *Result, *(error.reason for error in CODES)})
