"""Three replicas on one PostgreSQL and one token, each at a Unix socket of its own: the same one when it comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.databases import Database
from support.outages import StoppablePostgres
from support.replicas import Replica
from support.waiting import until

from endurance.history import Event
from endurance.replica_load import threads
from endurance.rotation_load import together
from endurance.settled import Recorded, Settled, settled
from endurance.spread import ReplicaClient

OTHERS = "datname = current_database() AND pid <> pg_backend_pid()"
"""The other connections to the same database."""
SOUND: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Run:
    """A history, and the audit record's end before it."""

    history: list[Event]
    after: int


class Trio:
    """Started one after another, the first first: it makes the token. The third may be another than it should be."""

    def __init__(self, directory: Path, postgres: StoppablePostgres) -> None:
        self.postgres = postgres
        self.database = Database(postgres.new_database())
        self.home = directory / "home"
        self._directory = directory
        self._third = dict(SOUND)
        self.replicas: list[Replica] = []

    def start(self, third: Mapping[str, str] = SOUND) -> None:
        """Starts what does not run. `third` is what the third's environment has besides."""
        if self.replicas and self._third != third:
            self.replicas.pop().kill()
        for name, environment in [("a", SOUND), ("b", SOUND), ("c", third)][len(self.replicas) :]:
            listen = f"unix:{self._directory / name}.sock"
            replica = Replica(self.home, name, self.database.url, (), KEYSVC_LISTEN=listen, **environment)
            replica.start()
            self.replicas.append(replica)
        self._third = dict(third)

    def stop(self) -> list[int]:
        """The exit codes. Nothing can change after."""
        codes = [replica.stop() for replica in self.replicas]
        self.replicas.clear()
        until(lambda: not self.database.rows("pg_stat_activity", OTHERS))
        return codes

    def kill(self) -> None:
        for replica in self.replicas:
            replica.kill()

    @contextmanager
    def clients(self) -> Iterator[list[ReplicaClient]]:
        """An administrator's, of each replica."""
        credentials = (self.home / "admin-credentials").read_text()
        with ExitStack() as stack:
            clients = [ReplicaClient(each.address, credentials) for each in self.replicas]
            for client in clients:
                stack.callback(client.close)
            yield clients

    def run(self, merchants: list[str], seconds: float, seed: int = 1) -> Run:
        """With clients of all replicas."""
        [row] = self.database.rows("audit_tail")
        with self.clients() as clients:
            return Run(together(threads(clients, merchants, seed), seconds), row["sequence"])

    def settled(self, run: Run) -> Settled:
        """When nothing can change any more."""
        rows = self.database.rows("audit_event", f"outcome = 'OK' AND sequence > {run.after}")
        return settled(run.history, [Recorded.of(row) for row in rows], time.time_ns())
