"""Waiting for what comes about by itself, for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc

WAIT_SECONDS = 15.0


def until(done: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """An AssertionError where it does not come about in time."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    """How a call ends."""
    try:
        call()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK
