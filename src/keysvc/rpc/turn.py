"""One call on its way through the service: what came with it, and what is known of it so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from time import perf_counter
from typing import Any, cast

from keysvc.rpc import identity
from keysvc.rpc.core import Context
from keysvc.service.access import Proof
from keysvc.service.known import Known


class Turn:
    """One call: what is known of it so far. Nothing here refers back to it, so that gRPC can free the call."""

    __slots__ = ("arrived", "begun", "context", "known", "name", "proof", "raw", "request")

    def __init__(self, raw: bytes, context: Context, arrived: int | None) -> None:
        """`arrived` is the call's epoch ticket; None for one that only begins now."""
        self.begun = perf_counter()
        self.raw = raw
        self.context = context
        self.arrived = arrived
        self.proof = Proof(_authorization(context), lambda: _spiffe_ids(context), context.peer)
        self.known: Known | None = None
        self.request: Any = None
        self.name = ""
        """Of the resource, as the request says it."""

    def time_left(self) -> float:
        """Seconds until the call's deadline."""
        left = self.context.time_remaining()
        return inf if left is None else left

    def remaining(self) -> float:
        """Seconds until the caller gives up; 0 where it has."""
        return self.time_left() if self.context.is_active() else 0.0


def _spiffe_ids(context: Context) -> tuple[bytes, ...]:
    # The stubs say bytes, where there is a sequence of them.
    return identity.spiffe_ids(cast("Mapping[str, Sequence[bytes]]", context.auth_context()))


def _authorization(context: Context) -> str:
    """The header. Several are put together (RFC 9110 section 5.3), which makes them no proof."""
    header = None
    for key, value in context.invocation_metadata():
        if key == "authorization":
            header = str(value) if header is None else f"{header}, {value!s}"
    return header or ""
