"""Starts what is measured, each as a process of its own on the servers' core, and ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.processes import children_of
from support.program import MODULE_PATH, serving_anew
from support.server import Client, DevServer

from bench.cores import Cores, on_cores
from bench.load import Target
from keysvc.store.engine import sqlite_url

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Source:
    """A tree of this project: the one that the bench is of, or that of another commit."""

    root: Path

    @property
    def path(self) -> str:
        """PYTHONPATH, which comes before what the virtual environment has installed."""
        return f"{self.root / 'src'}:{self.root / 'tests'}"


THIS_TREE = Source(TESTS.parent)


@contextmanager
def bare_server(threads: int, cores: Cores) -> Iterator[tuple[str, int]]:
    """The address and process id of a `bench.bare`."""
    with program(cores, "bench.bare", str(threads)) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid


@contextmanager
def keysvc(home: Path, cores: Cores, source: Source = THIS_TREE, **environment: str) -> Iterator[Target]:
    """`keysvc dev` on a home that is there, called as its administrator. `environment` adds KEYSVC_… settings.

    Killed at the end, as everything here is: its database stands that, and draining takes half a second.
    """
    server = DevServer(home, PYTHONPATH=source.path, **environment)
    with on_cores(cores.server):
        server.start()
    try:
        with server.client() as client:
            authorization = client.metadata[0][1]
        yield Target(server.address, (server.pid,), authorization)
    finally:
        server.kill()


@contextmanager
def workers(home: Path, number: int, *cores: int) -> Iterator[Target]:
    """`keysvc serve --workers` with the token and database of a home, on these cores. Drained at the end.

    The process that started the workers does nothing while they live, and is not counted.
    """
    settings = {
        "SOFTHSM2_CONF": str(home / "softhsm2.conf"),
        "KEYSVC_PKCS11_MODULE": str(MODULE_PATH),
        "KEYSVC_PIN_FILE": str(home / "pin"),
        "KEYSVC_DATABASE_URL": sqlite_url(home / "keysvc.db"),
        "KEYSVC_LISTEN": "127.0.0.1:0",
    }
    with ExitStack() as stack:
        with on_cores(*cores):
            running = stack.enter_context(serving_anew(f"serve --workers {number}", settings, home))
        stack.callback(running.stop)
        pids = tuple(children_of(running.process.pid)) or (running.process.pid,)
        with Client(running.address, (home / "admin-credentials").read_text()) as client:
            authorization = client.metadata[0][1]
        yield Target(running.address, pids, authorization)


@contextmanager
def program(cores: Cores, module: str, *arguments: str, source: Source = THIS_TREE) -> Iterator[subprocess.Popen[str]]:
    """One of the bench's own programs on the servers' core, with pipes to it; killed at the end."""
    environment = {**os.environ, "PYTHONPATH": source.path}
    with on_cores(cores.server):
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def asked(process: subprocess.Popen[str], line: str) -> Any:
    """What such a program answers to a line, as JSON. Raises RuntimeError where it has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"a program of the bench ended at {line}: see above")
    return json.loads(answer)
