"""The running stack, by docker's own commands, and clients of its replicas."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.encrypted import trusting
from support.server import Client
from support.waiting import until

REPLICAS = ("keysvc-1", "keysvc-2")
SERVICES = ("provision", "db", "setup", *REPLICAS)
STATE = "/var/lib/keysvc"
_WAIT_SECONDS = 90.0


def docker(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run to its end, whatever its exit code."""
    return subprocess.run(["docker", *arguments], capture_output=True, check=False, timeout=120)


@dataclass(frozen=True)
class Stack:
    """`home` has the files that who calls from outside needs."""

    project: str
    home: Path
    addresses: dict[str, str]

    @property
    def ca(self) -> Path:
        return self.home / "ca.pem"

    @property
    def admin_credentials(self) -> Path:
        return self.home / "admin-credentials"

    def client(self, name: str) -> Client:
        """As the administrator."""
        return Client(self.addresses[name], self.admin_credentials.read_text(), trusting(self.ca.read_bytes()))

    def docker(self, command: str, name: str, *arguments: str) -> bytes:
        """A command on a service's container; what it printed. An AssertionError where it fails."""
        done = docker(*command.split(), self._container(name), *arguments)
        assert 0 == done.returncode, done.stderr.decode()
        return done.stdout

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Inside a service's container."""
        return docker("exec", self._container(name), *command)

    def inspect(self, name: str) -> dict[str, Any]:
        [found] = json.loads(self.docker("inspect", name))
        return dict(found)

    def logs(self, name: str) -> bytes:
        """All that it wrote, to both outputs."""
        done = docker("logs", self._container(name))
        assert 0 == done.returncode, done.stderr.decode()
        return done.stdout + done.stderr

    def await_health(self, name: str, status: str) -> None:
        """As docker tells it, from what the probe ended with."""
        until(lambda: self.inspect(name)["State"]["Health"]["Status"] == status, _WAIT_SECONDS)

    def file(self, path: str) -> bytes:
        """Of the volume that the replicas share."""
        done = self.run(REPLICAS[0], "cat", f"{STATE}/{path}")
        assert 0 == done.returncode, done.stderr.decode()
        return done.stdout

    def copy_what_admins_need(self) -> None:
        self.home.mkdir(mode=0o700)
        for name, path in ((self.ca, "tls/ca.pem"), (self.admin_credentials, "admin-credentials")):
            name.touch(mode=0o600)
            name.write_bytes(self.file(path))

    def _container(self, name: str) -> str:
        labels = {"project": self.project, "service": name}
        filters = [
            part for key, value in labels.items() for part in ("--filter", f"label=com.docker.compose.{key}={value}")
        ]
        [identity] = docker("ps", "--all", "--quiet", *filters).stdout.decode().split()
        return identity
