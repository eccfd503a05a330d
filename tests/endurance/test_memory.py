"""A caller that sends names which are none, as long as they may be: the server does not keep them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from support.methods import message_of, path_of
from support.processes import status_of
from support.server import DevServer, refusal

CALLS = 40
NAME_BYTES = 4_000_000
MAY_GROW = 60
"""MB. Kept, the names alone would be 160."""


def test_long_names_are_not_kept_in_memory(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    try:
        with server.client() as client:
            client.active_merchant("listed")
            principal = {"kind": "SERVICE", "merchants": ["merchants/listed"]}
            fields = {"principal_id": "checkout", "principal": principal}
            made = client.call("CreatePrincipal", message_of(path_of("CreatePrincipal"), fields))
        with server.client(f"checkout:{made.password}") as client:
            grown = [_resident(server.pid)]
            for number in range(CALLS):
                name = f"merchants/listed/{number}".ljust(NAME_BYTES, "x")
                request = message_of(path_of("VerifyHmac"), {"name": name, "mac": b"mac"})
                assert "INVALID_FIELD" == refusal(partial(client.call, "VerifyHmac", request)).reason
                grown.append(_resident(server.pid))
    finally:
        server.stop()
    # The first few calls make the buffers that all later ones share.
    assert grown[-1] - grown[5] < MAY_GROW, grown


def _resident(pid: int) -> int:
    """MB"""
    return status_of(pid, "VmRSS") // 1024
