"""PostgreSQL servers that keep what they acknowledged: one alone, or a primary with a standby that takes its place.

Each has a directory of its own, a Unix socket in it, and is stopped at the end. Their clients may be processes that
crash or hang; these servers may too. They write no faster than their settings say, so nothing here trades a commit
for speed but the flush to the disk, which only a crash of the machine would miss.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from support.postgres import _USER, _find
from support.processes import children_of
from support.waiting import until

PORT = 5432
"""The sockets stand in directories of their own, and so do the network namespaces."""
_SETTINGS = "-c fsync=off -c full_page_writes=off -c wal_keep_size=64MB"


@dataclass(frozen=True)
class Node:
    """One server. `inside` is a command that runs another in a network namespace."""

    directory: Path
    inside: tuple[str, ...] = ()
    listen: str = ""
    """An address besides the socket."""

    @property
    def host(self) -> str:
        """As it stands in a URL's query."""
        return f"{self.directory}:{PORT}"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _lock_file(self) -> Path:
        """There while it runs."""
        return self._data / "postmaster.pid"

    def make(self) -> None:
        """A new and empty cluster, that trusts whoever reaches it."""
        self._run("initdb", "-D", self._data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        with (self._data / "pg_hba.conf").open("a") as file:
            file.write("host all all samenet trust\n")

    def copy(self, primary: Node) -> None:
        """A standby of `primary`, in the place of whatever stood here. It is not started yet."""
        if self._data.exists():
            shutil.rmtree(self._data)
        source = ("-h", primary.directory, "-p", str(PORT), "-U", _USER)
        self._run("pg_basebackup", *source, "-D", self._data, "-R", "--checkpoint=fast", "--no-sync")

    def start(self) -> None:
        sockets = f"-c unix_socket_directories={self.directory} -c port={PORT}"
        options = f"{_SETTINGS} {sockets} -c listen_addresses={self.listen}"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", self.directory / "log", "-o", options, "start")

    def crash(self) -> None:
        """Ends at once, and says goodbye to nobody."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def promote(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "promote")

    def hang(self) -> None:
        """Takes connections in, as the kernel does for it, and says nothing any more."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After `hang`."""
        self._signal(signal.SIGCONT)

    def crash_hung(self) -> None:
        """The same as `crash`, for one that may hang: its end is waiting when it goes on."""
        self._signal(signal.SIGQUIT, signal.SIGCONT)
        until(lambda: not self._lock_file.exists())

    def query(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows that the statement answers with, if any. In no transaction."""
        place = {"host": str(self.directory), "port": PORT, "user": _USER, "dbname": database}
        with psycopg.connect(**place, autocommit=True) as connection:  # type: ignore[arg-type]
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Stops it, if it runs, and removes its directory."""
        if self._lock_file.exists():
            self.crash_hung()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _signal(self, *numbers: signal.Signals) -> None:
        """The postmaster first, so that it starts nothing more while its processes are told."""
        pid = int(self._lock_file.read_text().split()[0])
        for number in numbers:
            for each in (pid, *children_of(pid)):
                with suppress(ProcessLookupError):
                    os.kill(each, number)

    def _run(self, program: str, *arguments: str | Path) -> None:
        """Runs one of PostgreSQL's programs, which refuse to run as root."""
        as_user = ["runuser", "-u", _USER, "--"] if os.getuid() == 0 else []
        command = [*self.inside, *as_user, _find(program), *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/tmp")
        assert 0 == done.returncode, f"{program}: {done.stderr}{done.stdout}"


@contextmanager
def new_node(inside: tuple[str, ...] = (), listen: str = "") -> Iterator[Node]:
    """A server's place: not made, not started. Stopped and removed at the end."""
    node = Node(Path(tempfile.mkdtemp(prefix="pg", dir="/tmp")), inside, listen)
    try:
        if os.getuid() == 0:
            shutil.chown(node.directory, _USER, _USER)
        yield node
    finally:
        node.close()


class Pair:
    """A primary and its standby."""

    def __init__(self, first: Node, second: Node) -> None:
        self.primary = first
        self.standby = second
        first.make()
        first.start()

    def url(self, database: str) -> str:
        """Whichever of the two takes writes."""
        hosts = f"host={self.primary.host}&host={self.standby.host}"
        return f"postgresql://{_USER}@/{database}?{hosts}&target_session_attrs=read-write"

    def follow(self) -> None:
        """The standby is made anew from the primary, and follows it. A commit does not wait for it."""
        self.standby.copy(self.primary)
        self.standby.start()
        self._until_state("async")

    def synchronise(self) -> None:
        """From now on a commit that returned stands on both."""
        self._on_primary("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self._until_state("sync")

    def fall_behind(self) -> None:
        """What is committed from now on reaches the standby no more."""
        self.standby.query("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.query("SELECT pg_reload_conf()")
        until(lambda: [] == self.primary.query("SELECT 1 FROM pg_stat_replication"))

    def fail_over(self) -> None:
        """The standby takes the primary's place, which has ended or hangs."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def _on_primary(self, setting: str) -> None:
        self.primary.query(setting)
        self.primary.query("SELECT pg_reload_conf()")

    def _until_state(self, state: str) -> None:
        told = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"
        until(lambda: [(state,)] == self.primary.query(told))


@contextmanager
def running_pair() -> Iterator[Pair]:
    """The primary runs; the standby is made by `follow`."""
    with new_node() as first, new_node() as second:
        yield Pair(first, second)
