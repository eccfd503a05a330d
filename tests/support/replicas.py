"""Replicas of one keysvc: `keysvc dev` processes with one token, each with a log and a database URL of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support.preloaded import Loaded
from support.server import PROGRAM, DevServer


class Replica(DevServer):
    """The first to start makes the token and the administrator; start the others when it serves."""

    def __init__(self, home: Path, name: str, url: str, inside: tuple[str, ...] = (), **environment: str) -> None:
        """`inside` is a command that runs another in a network namespace."""
        super().__init__(home, KEYSVC_DATABASE_URL=url, **environment)
        self.name = name
        self.url = url
        self.log = home.parent / f"{name}.log"
        self._inside = inside

    def _launched(self) -> subprocess.Popen[bytes] | Loaded:
        if not self._inside:
            return super()._launched()
        command = [*self._inside, str(PROGRAM), "dev"]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, env={**os.environ, **self._environment}, stdout=log, stderr=log)
