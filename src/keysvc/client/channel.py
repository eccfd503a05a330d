"""How a client reaches keysvc and proves who calls: the channel's options, TLS, and `authorization`."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from keysvc.client.methods import service_config

Authorization: TypeAlias = Callable[[], str]
"""Makes the `authorization` header of one call or batch. Asked by whichever thread makes the call: with
batches that may be gRPC's own, so it must not wait for a call of the same client."""

_LOCAL = re.compile(r"unix(-abstract)?:.+|(dns:///|ipv4:|ipv6:)?(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")
_LARGEST = 9 * 1024 * 1024
"""Above the largest request and answer of the contract."""
_SECOND = 1000


@dataclass(frozen=True, slots=True)
class Basic:
    """A principal's name and password (RFC 7617)."""

    name: str
    _header: str = field(repr=False)

    @classmethod
    def of(cls, name: str, password: str) -> Basic:
        return cls(name, "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())

    @classmethod
    def from_file(cls, path: str | Path) -> Basic:
        """From NAME:PASSWORD, as `keysvc dev` writes admin-credentials. Read once. Raises OSError, ValueError."""
        return cls.parse(Path(path).read_text(encoding="utf-8"), str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Basic:
        """From NAME:PASSWORD. Raises ValueError, which names the source and quotes nothing."""
        name, colon, password = text.strip().partition(":")
        if not (name and colon and password):
            raise ValueError(f"{source} does not hold NAME:PASSWORD")
        return cls.of(name, password)

    def __call__(self) -> str:
        return self._header


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files. `ca` is whom the server's certificate must be signed by: without it, one of gRPC's own roots.

    `certificate` and `key` are the client's, for keysvc's mTLS address. All are read when a client is made.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError for a file that cannot be read, ValueError for half a pair."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("A client's certificate needs its key, and the key its certificate: give Tls both")
        ca, key, chain = (Path(path).read_bytes() if path else None for path in (self.ca, self.key, self.certificate))
        return grpc.ssl_channel_credentials(ca, key, chain)


def credentials_for(address: str, tls: Tls | None) -> grpc.ChannelCredentials | None:
    """None for a connection that needs no TLS. Raises ValueError where secrets would cross a network in clear."""
    if tls is None and not _LOCAL.fullmatch(address):
        raise ValueError(f"{address} is not on loopback, so it needs TLS: give the client tls=Tls(ca=...)")
    return tls.credentials() if tls else None


def options_for(authorization: Authorization | None) -> list[tuple[str, Any]]:
    """A header that was made for one call may be good only once, as a JWT is, and gRPC would repeat it: no retries."""
    retries = authorization is None or isinstance(authorization, Basic)
    return [
        ("grpc.service_config", service_config(retries=retries)),
        ("grpc.per_rpc_retry_buffer_size", _LARGEST),  # what is larger than this is not retried
        ("grpc.max_receive_message_length", _LARGEST),
        # A call does not wait for a connection (see docs/client.md), so one that was lost is soon sought again.
        ("grpc.initial_reconnect_backoff_ms", _SECOND // 10),
        ("grpc.max_reconnect_backoff_ms", 5 * _SECOND),
        # A server that is gone without a word is noticed, in between calls too.
        ("grpc.keepalive_time_ms", 30 * _SECOND),
        ("grpc.keepalive_timeout_ms", 10 * _SECOND),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.enable_http_proxy", 0),  # or what goes to loopback could leave this machine
    ]


def metadata_for(authorization: Authorization | None) -> tuple[tuple[str, str], ...]:
    return () if authorization is None else (("authorization", authorization()),)
