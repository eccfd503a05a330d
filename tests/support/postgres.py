"""A private PostgreSQL from Debian's packages: its own directory, on a Unix socket, gone after the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_USER = "postgres"
_SETTINGS = ("-c listen_addresses=", "-c fsync=off", "-c full_page_writes=off", "-c synchronous_commit=off")


class Postgres:
    """A running server. Each test asks for a database of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def new_database(self) -> str:
        """The URL of a new and empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        _run("psql", "-U", _USER, "-h", str(self._directory), "-d", "postgres", "-qc", f"CREATE DATABASE {name}")
        return f"postgresql://{_USER}@/{name}?host={self._directory}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Starts the server and stops it. The directory is short: a socket's path has a limit of 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    try:
        if os.getuid() == 0:
            shutil.chown(directory, _USER, _USER)
        data = directory / "data"
        _run("initdb", "-D", str(data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        options = " ".join([*_SETTINGS, f"-c unix_socket_directories={directory}"])
        _run("pg_ctl", "-D", str(data), "-w", "-l", str(directory / "log"), "-o", options, "start")
        try:
            yield Postgres(directory)
        finally:
            _run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(program: str, *arguments: str) -> None:
    """Runs one of PostgreSQL's programs, which refuse to run as root."""
    command = [_find(program), *arguments]
    if os.getuid() == 0:
        command = ["runuser", "-u", pwd.getpwnam(_USER).pw_name, "--", *command]
    subprocess.run(command, check=True, capture_output=True, cwd="/tmp")


def _find(program: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(found[-1]) if found else program
