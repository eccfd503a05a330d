"""Stopping a gRPC server so that no call is lost: what was begun is finished, what comes later is never seen by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import structlog

from keysvc.rpc.holding import Inbound
from keysvc.rpc.intake import Intake

GRACE_SECONDS = 10.0
"""For calls in flight, from when their clients are told to go."""
_SETTLE_LOOKS = 50
"""For connections that are being made, and for what was received to reach a thread, also on a busy machine."""
_TOLD_SECONDS = 0.25
"""For clients to take note: one that still sends on a connection that has ended loses what it has not read of it."""
_COMES_ON_SECONDS = 1.0
"""For the rest of a request, once its client may send."""
_ROUNDS = 5
_LOOK_SECONDS = 0.005

log = structlog.get_logger(__name__)


class Drain:
    """Run once, by one thread."""

    def __init__(self, server: grpc.Server, inbound: Inbound, intake: Intake) -> None:
        self._server = server
        self._inbound = inbound
        self._intake = intake

    def run(self) -> None:
        """Blocks until the server has stopped."""
        self._inbound.hold_connections()
        _settle()
        if self._inbound.is_connected():
            self._let_go()
            self._inbound.discard_data()
        # Tells each client which call was the last one seen: those held back were not, and are made elsewhere.
        self._server.stop(None).wait()

    def _let_go(self) -> None:
        """Returns when no call is in flight that anybody waits for."""
        self._hold_between_calls()
        # Clients are told GOAWAY, and make new calls elsewhere.
        self._server.stop(GRACE_SECONDS)
        time.sleep(_TOLD_SECONDS)
        if not self._comes_about(lambda: not self._calls(), GRACE_SECONDS):
            log.warning("drain.cut_off", calls=len(self._calls()))

    def _hold_between_calls(self) -> None:
        """Calls of which a part was received are let in whole. One that has not come on since the last look may wait
        for its client for ever, as a stream does."""
        seen: set[Any] = set()
        for _ in range(_ROUNDS):
            self._hold()
            half = self._half()
            if half <= seen:
                return
            seen |= half
            self._inbound.let_data_in()
            self._comes_about(lambda: not half & self._half(), _COMES_ON_SECONDS)  # noqa: B023 - asked at once
        self._hold()

    def _hold(self) -> None:
        self._inbound.hold_data()
        _settle()
        self._comes_about(lambda: not self._intake.waiting(), GRACE_SECONDS)

    def _half(self) -> set[Any]:
        """Calls whose request has not been received to its end."""
        streams = {call for call in self._streams() if "receive_message" in call.due}
        return streams | {call for call in self._intake.calls() if not call.received}

    def _calls(self) -> list[Any]:
        """All that were begun and have not been answered to the last byte."""
        return [*self._streams(), *self._intake.calls()]

    def _streams(self) -> list[Any]:
        """And calls of health: those of grpcio's own. It tells nobody, but it knows."""
        return list(self._server._state.rpc_states)  # type: ignore[attr-defined]  # noqa: SLF001

    def _comes_about(self, done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True


def _settle() -> None:
    """In many looks: a machine that stands still for a while uses up one of them."""
    for _ in range(_SETTLE_LOOKS):
        time.sleep(_LOOK_SECONDS)
