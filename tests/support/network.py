"""Two network namespaces with one link between them, which can be cut in either direction, as a broken cable would.

Nothing of this machine's own network is touched. A cut is silent: frames leave, addressed to nobody, so neither side
is told anything. Unix sockets are paths, and pass.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

_NOBODY = "02:00:00:00:00:ff"
_DEVICE = "cable"


@dataclass(frozen=True)
class Side:
    """A namespace, and its end of the link."""

    namespace: str
    address: str
    mac: str

    @property
    def inside(self) -> tuple[str, ...]:
        """The command that runs another in the namespace."""
        return ("ip", "netns", "exec", self.namespace)

    def send_to(self, other: Side, mac: str) -> None:
        """Where frames for the other side go from now on."""
        self._ip("neigh", "replace", other.address, "lladdr", mac, "dev", _DEVICE, "nud", "permanent")

    def set_up(self) -> None:
        self._ip("addr", "add", f"{self.address}/30", "dev", _DEVICE)
        for device in ("lo", _DEVICE):
            self._ip("link", "set", device, "up")

    def _ip(self, *arguments: str) -> None:
        _run("ip", "-n", self.namespace, *arguments)


@dataclass(frozen=True)
class Link:
    """It is whole when it is made."""

    replica: Side
    database: Side

    @property
    def _ways(self) -> dict[str, tuple[Side, Side]]:
        return {"to-database": (self.replica, self.database), "to-replica": (self.database, self.replica)}

    def cut(self, ways: Iterable[str]) -> None:
        """`to-database`, `to-replica` or both. What is sent that way is lost."""
        for way in ways:
            sender, receiver = self._ways[way]
            sender.send_to(receiver, _NOBODY)

    def heal(self) -> None:
        for sender, receiver in self._ways.values():
            sender.send_to(receiver, receiver.mac)


@contextmanager
def new_link() -> Iterator[Link]:
    """Skips the test where no namespaces can be had; in CI that is a failure. Stop what runs in them before the end."""
    replica = Side(f"keysvc-{os.getpid()}-replica", "10.0.0.1", "02:00:00:00:00:01")
    database = Side(f"keysvc-{os.getpid()}-database", "10.0.0.2", "02:00:00:00:00:02")
    with ExitStack() as stack:
        for side in (replica, database):
            _add_or_skip(side.namespace)
            stack.callback(_run, "ip", "netns", "delete", side.namespace)
        peer = ("peer", "name", _DEVICE, "address", database.mac, "netns", database.namespace)
        _run(
            "ip", "-n", replica.namespace, "link", "add", "name", _DEVICE, "address", replica.mac, "type", "veth", *peer
        )
        for side in (replica, database):
            side.set_up()
        link = Link(replica, database)
        link.heal()
        yield link


def _add_or_skip(namespace: str) -> None:
    try:
        _run("ip", "netns", "add", namespace)
    except (OSError, AssertionError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs root, iproute2 and network namespaces: {error}")


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert 0 == done.returncode, f"{' '.join(command)}: {done.stderr}"
