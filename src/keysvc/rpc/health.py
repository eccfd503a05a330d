"""grpc.health.v1: SERVING while the token computes a known answer and the database tells the epoch.

The same thread heals: a token that was out of reach is looked for here, and calls go on by themselves
once it is back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse

CHECK_SECONDS = 1.0

WATCHES = 256
"""Watches at once; more wait. Each has a thread, most of which sleep."""

CHECKING = 2
"""Checks at once; each only looks up what the monitor found last."""

log = structlog.get_logger(__name__)


class Health(HealthServicer):
    """One that answers beside all other calls, and whose watches can be ended: a stream that waits for news would hold
    up a server that stops."""

    def __init__(self, threads: ThreadPoolExecutor, checking: ThreadPoolExecutor) -> None:
        """`threads` are those of the watches, `checking` those of the checks: a replica that is busy is not unwell."""
        super().__init__(experimental_non_blocking=False, experimental_thread_pool=threads)
        self._watching: set[Any] = set()

        def check(request: Any, context: Any) -> Any:
            return HealthServicer.Check(self, request, context)

        check.experimental_thread_pool = checking  # type: ignore[attr-defined]
        self.Check = check  # type: ignore[method-assign]

    def Watch(self, request: Any, context: Any, send_response_callback: Any = None) -> Any:  # noqa: N802 - the rpc's name
        watch = super().Watch(request, context, send_response_callback)
        self._watching.add(watch)
        context.add_callback(lambda: self._watching.discard(watch))
        return watch

    def end_watches(self) -> None:
        """Each has been told the last news before it ends."""
        for watch in list(self._watching):
            watch.close()


def new_servicer() -> Health:
    """One whose watches block in threads of their own.

    In the way that is its default it sends under its lock, from whichever thread sets the health, and waits for gRPC's
    own thread to have sent; that thread waits for the lock where a watcher leaves just then. Both wait for ever.
    """
    threads = ThreadPoolExecutor(WATCHES, thread_name_prefix="keysvc-watch")
    return Health(threads, ThreadPoolExecutor(CHECKING, thread_name_prefix="keysvc-check"))


class HealthMonitor:
    """Checks once a second. `checks` each return what is wrong, or None; they may block."""

    def __init__(self, servicer: HealthServicer, services: tuple[str, ...], checks: list[Callable[[], str | None]]):
        self._servicer = servicer
        self._services = ("", *services)
        self._checks = checks
        self._told: str | None = "starting"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keysvc-health", daemon=True)

    def start(self) -> None:
        """Checks once before it returns, so that a server is not SERVING before it is well."""
        self._check()
        self._thread.start()

    def serving(self) -> bool:
        return self._told is None and not self._stopped.is_set()

    def drain(self) -> None:
        """NOT_SERVING from now on, whatever the checks say."""
        self._stopped.set()
        self._thread.join()
        self._servicer.enter_graceful_shutdown()

    def _run(self) -> None:
        while not self._stopped.wait(CHECK_SECONDS):
            self._check()

    def _check(self) -> None:
        trouble = next((wrong for check in self._checks if (wrong := _checked(check)) is not None), None)
        if trouble == self._told:
            return
        log.info("health.changed", serving=trouble is None, trouble=trouble)
        status = HealthCheckResponse.SERVING if trouble is None else HealthCheckResponse.NOT_SERVING
        for service in self._services:
            self._servicer.set(service, status)
        self._told = trouble


def _checked(check: Callable[[], str | None]) -> str | None:
    try:
        return check()
    except Exception:
        # The thread must live: a check that fails is trouble by itself, and is made again.
        log.exception("health.check_failed")
        return "a check failed"
