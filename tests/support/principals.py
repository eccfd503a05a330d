"""Principals of every kind, made as an administrator makes them: by PrincipalService."""

from __future__ import annotations

import itertools
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from keysvc.v1.audit_pb2 import AuditEvent
from support.asking import ask
from support.server import Client, DevServer, Refusal

KINDS = ("ADMIN", "PSP", "ACQUIRER", "MERCHANT", "SERVICE", "AUDITOR")


def create(client: Client, principal_id: str, kind: str, **fields: Any) -> str:
    """Adds a principal; returns its password."""
    made = ask(client, "CreatePrincipal", principal_id=principal_id, principal={"kind": kind, **fields})
    return str(made.password)


def update(client: Client, principal_id: str, **fields: Any) -> Any:
    """Sets these fields of a principal, and no others."""
    principal = {"name": name_of(principal_id), **fields}
    return ask(client, "UpdatePrincipal", principal=principal, update_mask={"paths": list(fields)})


def name_of(principal_id: str) -> str:
    return f"principals/{principal_id}"


def renew(client: Client, principal_id: str, seconds: float = 0, **fields: Any) -> Any:
    """A new password; the old one works for these seconds more."""
    ttl = Duration()
    ttl.FromNanoseconds(int(seconds * 1_000_000_000))
    return ask(client, "RenewPrincipalPassword", name=name_of(principal_id), previous_ttl=ttl, **fields)


def let_in(caller: Client) -> bool:
    """Whether a call of this client's proves who calls."""
    try:
        ask(caller, "GetImportKey")
    except grpc.RpcError as error:
        told = Refusal(error)
        assert told.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        return told.code is grpc.StatusCode.PERMISSION_DENIED
    return True


_NUMBERS = itertools.count(1)
"""Of this process: the tests of a module may be run in several goes, on one server."""


class Principals:
    """Makes principals that no other test uses, with a client each. Closes the clients."""

    def __init__(self, server: DevServer, administrator: Client, prefix: str = "p") -> None:
        self._server = server
        self._administrator = administrator
        self._prefix = prefix
        self._clients: list[Client] = []

    def id(self) -> str:
        return f"{self._prefix}-{next(_NUMBERS)}"

    def make(self, kind: str, **fields: Any) -> tuple[str, Client]:
        """(its id, a client that calls with its password)"""
        principal_id = self.id()
        return principal_id, self.client(principal_id, create(self._administrator, principal_id, kind, **fields))

    def client(self, principal_id: str, password: str) -> Client:
        made = self._server.client(f"{principal_id}:{password}")
        self._clients.append(made)
        return made

    def close(self) -> None:
        for client in self._clients:
            client.close()


def events_of(client: Client, name: str) -> list[AuditEvent]:
    """All that the audit record holds of a resource, and of what stands under it."""
    return _paged(client, parent=name)


def events_since(client: Client, sequence: int) -> list[AuditEvent]:
    """All of the record after `sequence`."""
    return [event for event in _paged(client) if event.sequence > sequence]


def head_of(client: Client) -> int:
    """The newest event's sequence."""
    return int(ask(client, "GetAuditHead").sequence)


def _paged(client: Client, **fields: Any) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    token = ""
    while True:
        page = ask(client, "ListAuditEvents", page_size=1000, page_token=token, **fields)
        events.extend(page.events)
        token = page.next_page_token
        if not token:
            return events
