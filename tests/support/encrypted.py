"""A `keysvc serve` over TLS, with certificates that the test's own authorities sign."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from keysvc.v1 import principal_service_pb2 as pb
from keysvc.v1.principal_pb2 import Principal
from support.certificates import Authority, Pair
from support.methods import call_raw
from support.production import Production
from support.program import Running, serving
from support.server import Client

CREATE_PRINCIPAL = "/keysvc.v1.PrincipalService/CreatePrincipal"


@dataclass(frozen=True)
class Encrypted:
    """What it is set up with: `servers` signs its certificate, `clients` those of its clients."""

    production: Production
    servers: Authority
    clients: Authority

    @property
    def directory(self) -> Path:
        return self.production.directory

    @property
    def settings(self) -> dict[str, str]:
        files = {
            "KEYSVC_TLS_CERTIFICATE": "server.pem",
            "KEYSVC_TLS_KEY": "server.key",
            "KEYSVC_TLS_CLIENT_CA": "clients.pem",
        }
        paths = {name: str(self.directory / file) for name, file in files.items()}
        return {**self.production.settings, **paths, "KEYSVC_MTLS_LISTEN": "127.0.0.1:0"}

    def write_certificates(self) -> None:
        self.servers.server().write(self.directory, "server")
        self.clients.write(self.directory / "clients.pem")

    @contextmanager
    def serving(self, **more: str) -> Iterator[Running]:
        with serving("serve", {**self.settings, **more}, self.directory) as running:
            yield running

    def admin(self, running: Running) -> Client:
        """By password, on the main address."""
        return Client(running.address, self.production.admin_credentials.read_text(), trusting(self.servers.pem))

    def certified(self, running: Running, pair: Pair | None) -> Client:
        """By nothing but a certificate, on the address for those who have one."""
        return Client(running.mtls_address, None, trusting(self.servers.pem, pair))


def make_encrypted(directory: Path) -> Encrypted:
    """All that it needs, on disk."""
    made = Encrypted(Production(directory), Authority("servers"), Authority("clients"))
    made.production.make_all()
    made.write_certificates()
    return made


def trusting(ca: bytes, pair: Pair | None = None) -> grpc.ChannelCredentials:
    """A client's credentials; with `pair` it can show a certificate."""
    shown = (pair.key, pair.certificate) if pair else (None, None)
    return grpc.ssl_channel_credentials(ca, *shown)


def create_auditor(client: Client, principal_id: str, spiffe_id: str) -> None:
    wanted = pb.CreatePrincipalRequest(
        principal_id=principal_id, principal=Principal(kind=Principal.Kind.AUDITOR, spiffe_id=spiffe_id)
    )
    call_raw(client, CREATE_PRINCIPAL, wanted.SerializeToString())
