"""A PostgreSQL of one test's own, to be stopped and started under keysvc."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.postgres import _SETTINGS, Postgres, _run, running_postgres


class StoppablePostgres(Postgres):
    """Stopping cuts its clients off. (Not by a crash: this server trades what a crash would lose for speed.)"""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._data = str(directory / "data")
        self._options = " ".join([*_SETTINGS, f"-c unix_socket_directories={directory}"])
        self._log = str(directory / "log")
        self._running = True

    def stop(self) -> None:
        _run("pg_ctl", "-D", self._data, "-w", "-m", "fast", "stop")
        self._running = False

    def start(self) -> None:
        if not self._running:
            _run("pg_ctl", "-D", self._data, "-w", "-l", self._log, "-o", self._options, "start")
            self._running = True


@contextmanager
def stoppable_postgres() -> Iterator[StoppablePostgres]:
    """Runs when this ends, as `running_postgres` expects."""
    with running_postgres() as server:
        stoppable = StoppablePostgres(server._directory)
        try:
            yield stoppable
        finally:
            stoppable.start()
