"""Server credentials that follow their files: certificate, key and client CA are read again when they changed.

gRPC asks before each handshake. Files that cannot be served (half-written, a key that is not the
certificate's, expired) leave in use what was read before. Who the caller is, is the gate's matter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

import grpc
import structlog

from keysvc.model.errors import Misconfigured
from keysvc.rpc.tls_files import Stamp, TlsFiles, TlsMaterial

log = structlog.get_logger(__name__)

_Configuration: TypeAlias = grpc.ServerCertificateConfiguration


class Certificates:
    """Follows the files. Thread-safe: handshakes ask from gRPC's threads."""

    def __init__(self, files: TlsFiles, now: Callable[[], datetime]) -> None:
        """Raises Misconfigured for files that cannot be served."""
        self._files = files
        self._now = now
        self._lock = threading.Lock()
        self._told: Stamp | None = None
        # Taken before the files are read, so that a change in between is seen.
        self._seen = files.stamp()
        self._material = files.load(now())

    def server_only(self) -> grpc.ServerCredentials:
        """For a port where clients show no certificate."""
        served = self._material

        def changed() -> Any:  # a configuration, or None for "as before", of which the stubs know nothing
            # Not the same again: a new configuration forgets the sessions that clients may resume.
            nonlocal served
            material = self._current()
            if material is served:
                return None
            served = material
            return _for_anyone(material)

        return grpc.dynamic_ssl_server_credentials(_for_anyone(served), changed)

    def mutual(self) -> grpc.ServerCredentials:
        """For a port where a certificate of the client CA is required, and checked at each connection."""

        def always_new() -> _Configuration:
            # TLS does not look at the certificate of a client that resumes a session, expired or not. So none can.
            return _for_certified(self._current())

        return grpc.dynamic_ssl_server_credentials(
            _for_certified(self._material), always_new, require_client_authentication=True
        )

    def expires(self) -> datetime:
        """When the certificate that the next handshake is given ends."""
        return self._current().expires

    def log_expiry(self) -> None:
        log.info("tls.serving", expires=self._material.expires.isoformat())

    def _current(self) -> TlsMaterial:
        with self._lock:
            stamp = self._files.stamp()
            if stamp != self._seen:
                self._reload(stamp)
            return self._material

    def _reload(self, stamp: Stamp) -> None:
        # A failure is tried again at the next handshake (a certificate becomes valid by time), but told once.
        try:
            self._material = self._files.load(self._now())
        except Misconfigured as error:
            if stamp != self._told:
                log.error("tls.reload_failed", trouble=error.message)
                self._told = stamp
            return
        self._seen = stamp
        log.info("tls.reloaded", expires=self._material.expires.isoformat())


def _for_anyone(material: TlsMaterial) -> _Configuration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)])


def _for_certified(material: TlsMaterial) -> _Configuration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.client_ca)
