"""The gRPC server: services, reflection, health and the gate, on one address or two."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import grpc
from google.rpc import error_details_pb2  # noqa: F401 - so that reflection can describe the error details
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

if TYPE_CHECKING:
    from keysvc.rpc.tracing import Tracing

from keysvc.model.errors import Misconfigured
from keysvc.rpc.draining import Drain
from keysvc.rpc.gate import Gate
from keysvc.rpc.guarded import GuardedMethod, Guards, check_table
from keysvc.rpc.health import HealthMonitor, new_servicer
from keysvc.rpc.holding import Inbound
from keysvc.rpc.intake import Intake, Method
from keysvc.rpc.services import SERVICES, Servicers
from keysvc.rpc.tls import Certificates

_MAX_REQUEST = 8 * 1024 * 1024
"""Above the largest field, so that a field that is too large is named rather than cut off."""
_MAX_METADATA = 2 * 1024 * 1024
"""A header of 1 MB reaches the gate, which says UNAUTHENTICATED; one above this is gRPC's own RESOURCE_EXHAUSTED."""
_MAX_STREAMS = 1000
"""Calls at once on one connection; a client holds back more."""
_HEALTH_THREADS = 2
_SECOND = 1000
_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_REQUEST),
    ("grpc.max_send_message_length", _MAX_REQUEST),
    ("grpc.max_metadata_size", _MAX_METADATA),  # the soft limit: above it gRPC refuses some headers, at random
    ("grpc.absolute_max_metadata_size", _MAX_METADATA),
    ("grpc.max_concurrent_streams", _MAX_STREAMS),
    ("grpc.server_handshake_timeout_ms", 10 * _SECOND),  # a connection that says nothing is closed
    # A client that is gone without a word is noticed; one that pings an idle connection is not sent away for it.
    ("grpc.keepalive_time_ms", 60 * _SECOND),
    ("grpc.keepalive_timeout_ms", 20 * _SECOND),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10 * _SECOND),
    # Calls that began before a connection reached its age may finish. The age itself is a setting.
    ("grpc.max_connection_age_grace_ms", 30 * _SECOND),
]


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where to listen (`HOST:PORT`, port 0 for any free one, or `unix:PATH`) and how much to take on.

    With `certificates`, calls are encrypted. On `mtls_listen`, which needs them, clients show certificates too.
    """

    listen: str
    threads: int
    max_waiting: int
    connection_age: int
    """Seconds after which a connection ends, so that no certificate is relied on for ever."""
    mtls_listen: str | None = None
    certificates: Certificates | None = None
    tracing: Tracing | None = None
    """What makes a span of each call."""
    shares_port: bool = False
    """Whether other processes may listen there too. Where not, a taken port is an error."""


class Server:
    """Built, then started, then stopped once."""

    def __init__(
        self,
        config: ServerConfig,
        guards: Guards,
        servicers: Servicers,
        checks: list[Callable[[], str | None]],
    ) -> None:
        """Binds the addresses. Raises Misconfigured where one cannot be had."""
        self._gate = Gate(guards)
        options = [
            *_OPTIONS,
            ("grpc.max_connection_age_ms", config.connection_age * _SECOND),
            ("grpc.so_reuseport", int(config.shares_port)),
        ]
        interceptors = [*([config.tracing] if config.tracing else []), self._gate]
        self._server = grpc.server(
            ThreadPoolExecutor(_HEALTH_THREADS, thread_name_prefix="keysvc-health"),
            interceptors=interceptors,
            options=options,
        )
        self._intake = Intake(
            self._server, _methods(servicers, guards, config.tracing), guards.cache.arrival, config.threads,
            config.max_waiting,
        )  # fmt: skip
        self.calls_waiting = self._intake.waiting
        self.max_waiting = config.max_waiting
        servicer = new_servicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._certificates = config.certificates
        self._health = servicer
        self._monitor = HealthMonitor(servicer, SERVICES, checks)
        self.serving = self._monitor.serving
        self.address = self._bind_main(config)
        self.mtls_address = self._bind_mutual(config)

    def start(self) -> None:
        self._monitor.start()
        self._server.start()
        self._intake.start()
        if self._certificates is not None:
            self._certificates.log_expiry()

    def certificate_expires(self) -> datetime | None:
        """None without TLS."""
        return None if self._certificates is None else self._certificates.expires()

    def announce_stop(self) -> None:
        """NOT_SERVING from now on, while calls are still taken."""
        self._monitor.drain()

    def stop(self) -> None:
        """Drains: NOT_SERVING, no new calls, and those in flight finish. Blocks until they have."""
        self._monitor.drain()
        self._health.end_watches()
        addresses = [self.address, *([self.mtls_address] if self.mtls_address else [])]
        Drain(self._server, Inbound(addresses), self._intake).run()
        self._intake.close()
        self._gate.close()

    def _bind_main(self, config: ServerConfig) -> str:
        if config.certificates is None:
            return _bound("KEYSVC_LISTEN", config.listen, self._server.add_insecure_port)
        credentials = config.certificates.server_only()
        return _bound("KEYSVC_LISTEN", config.listen, lambda at: self._server.add_secure_port(at, credentials))

    def _bind_mutual(self, config: ServerConfig) -> str | None:
        if config.certificates is None or config.mtls_listen is None:
            return None
        credentials = config.certificates.mutual()
        return _bound(
            "KEYSVC_MTLS_LISTEN", config.mtls_listen, lambda at: self._server.add_secure_port(at, credentials)
        )


def _methods(servicers: Servicers, guards: Guards, tracing: Tracing | None) -> dict[str, Method]:
    check_table()
    methods = {path: GuardedMethod(path, handler, guards) for path, handler in servicers.handlers().items()}
    if tracing is None:
        return {**methods}
    return {path: tracing.traced(path, method) for path, method in methods.items()}


def _bound(variable: str, listen: str, bind: Callable[[str], int]) -> str:
    """The address with the port that was bound."""
    try:
        port = bind(listen)
    except RuntimeError:
        port = 0
    if not port:
        raise Misconfigured(f"Cannot listen on {listen}: is the port taken? Set {variable} to another address")
    if listen.startswith("unix:"):
        return listen
    return f"{listen.rpartition(':')[0]}:{port}"
