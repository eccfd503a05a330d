"""The gRPC server: services, reflection, health and the gate, on one address."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2  # noqa: F401 - so that reflection can describe the error details
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from keysvc.model.errors import Misconfigured
from keysvc.rpc.credentials import CredentialServicer
from keysvc.rpc.gate import Gate
from keysvc.rpc.health import HealthMonitor
from keysvc.rpc.merchants import MerchantServicer
from keysvc.service.access import Access
from keysvc.service.cache import Cache
from keysvc.v1 import credential_service_pb2, merchant_service_pb2
from keysvc.v1.credential_service_pb2_grpc import add_CredentialServiceServicer_to_server
from keysvc.v1.merchant_service_pb2_grpc import add_MerchantServiceServicer_to_server

SERVICES = (
    credential_service_pb2.DESCRIPTOR.services_by_name["CredentialService"].full_name,
    merchant_service_pb2.DESCRIPTOR.services_by_name["MerchantService"].full_name,
)
_MAX_REQUEST = 8 * 1024 * 1024
"""Above the largest field, so that a field that is too large is named rather than cut off."""
_GRACE_SECONDS = 10
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # a taken port is an error, not a second server on it
    ("grpc.max_receive_message_length", _MAX_REQUEST),
    ("grpc.max_send_message_length", _MAX_REQUEST),
]


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where to listen (`HOST:PORT`, port 0 for any free one, or `unix:PATH`) and how much to take on."""

    listen: str
    threads: int
    max_waiting: int


class _Threads(ThreadPoolExecutor):
    def waiting(self) -> int:
        """Calls that wait for a thread."""
        return self._work_queue.qsize()


class Server:
    """Built, then started, then stopped once."""

    def __init__(
        self,
        config: ServerConfig,
        cache: Cache,
        access: Access,
        servicers: tuple[CredentialServicer, MerchantServicer],
        checks: list[Callable[[], str | None]],
    ) -> None:
        """Binds the address. Raises Misconfigured where it cannot be had."""
        threads = _Threads(config.threads, thread_name_prefix="keysvc-call")
        gate = Gate(cache, access, threads.waiting, config.max_waiting)
        self._server = grpc.server(threads, interceptors=[gate], options=_OPTIONS)
        credentials, merchants = servicers
        add_CredentialServiceServicer_to_server(credentials, self._server)  # type: ignore[no-untyped-call]
        add_MerchantServiceServicer_to_server(merchants, self._server)  # type: ignore[no-untyped-call]
        servicer = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._monitor = HealthMonitor(servicer, SERVICES, checks)
        self.address = _bind(self._server, config.listen)

    def start(self) -> None:
        self._monitor.start()
        self._server.start()

    def stop(self) -> None:
        """Drains: NOT_SERVING, no new calls, and those in flight finish. Blocks until they have."""
        self._monitor.drain()
        self._server.stop(_GRACE_SECONDS).wait()


def _bind(server: grpc.Server, listen: str) -> str:
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError:
        port = 0
    if not port:
        raise Misconfigured(f"Cannot listen on {listen}: is the port taken? Set KEYSVC_LISTEN to another address")
    if listen.startswith("unix:"):
        return listen
    return f"{listen.rpartition(':')[0]}:{port}"
