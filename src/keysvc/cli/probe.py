"""`keysvc-probe`: the health of the `keysvc serve` with the same settings, as an exit code, for who runs containers.

A program of its own, since it is run every few seconds and loading all of keysvc takes four times as long.
Kubernetes' own gRPC probe knows no TLS, which keysvc wants off loopback.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from keysvc.cli.hardening import harden
from keysvc.cli.settings import Settings, read_settings
from keysvc.client import CallFailed
from keysvc.client.health import health_of
from keysvc.model.errors import KeysvcError, Misconfigured

EXIT_NOT_SERVING = 3
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared with, not listened on


def run() -> None:
    """The program's entry."""
    try:
        harden()
        typer.run(probe)
    except KeysvcError as error:
        sys.stderr.write(f"keysvc-probe: {error}\n")
        sys.exit(1)


def probe(
    *,
    alive: Annotated[
        bool, typer.Option("--alive", help="Content with any answer: one whose token is gone is not to be restarted.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="How long to wait for an answer.")] = 3.0,
) -> None:
    """Ask the keysvc on KEYSVC_LISTEN for its health. Exit code 0: SERVING; 3: NOT_SERVING; 1: no answer."""
    settings = read_settings()
    address = own_address(settings)
    try:
        status = health_of(address, seconds, encrypted=settings.tls_certificate is not None)
    except (CallFailed, OSError):
        raise Misconfigured(f"keysvc does not answer on {address}: is KEYSVC_LISTEN that of `keysvc serve`?") from None
    typer.echo(status)
    if status != "SERVING" and not alive:
        sys.exit(EXIT_NOT_SERVING)


def own_address(settings: Settings) -> str:
    """Where a server that listens as the settings say is found from its own machine."""
    if settings.listen.startswith("unix:"):
        return settings.listen
    host, _, port = settings.listen.rpartition(":")
    return f"{_EVERYWHERE.get(host, host)}:{port}"
