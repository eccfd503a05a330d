"""`keysvc rotate`: walks an operator through a double run, and stops where it is not safe. Works over gRPC."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from keysvc.cli import remote
from keysvc.cli.remote import Stopped
from keysvc.cli.walk import Plan, Walk
from keysvc.client import Kind

_FOREVER = float("inf")


def rotate(
    merchant: Annotated[str, typer.Argument(help="The merchant's id.")],
    *,
    kind: Annotated[Kind, typer.Option(help="Which pair.")] = Kind.HMAC_KEY,
    unused_hours: Annotated[
        float,
        typer.Option(
            min=0,
            max=remote.MOST_DAYS * 24,
            help="How long nobody may have used a key that ends.",
        ),
    ] = 24,
    secret_file: Annotated[Path | None, typer.Option(help="Where to write the new secret, mode 0600.")] = None,
    receivers_ready: Annotated[
        bool,
        typer.Option("--receivers-ready", help="Go on though nobody has used the new key yet: receivers have it."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do what is safe without asking.")] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds to wait for a step to become safe. Unless set: for ever in a terminal, elsewhere not at all.",
        ),
    ] = None,
) -> None:
    """Walk through a double run: create the secondary key, move the clients, swap, revoke the old key.

    Goes on with one that is under way. Exit code 3: it stopped where it was not safe; run it again later.
    """
    watched = remote.is_watched()
    plan = Plan(
        remote.merchant_name(merchant),
        kind,
        timedelta(hours=unused_hours),
        secret_file,
        receivers_ready,
        wait if wait is not None else (_FOREVER if watched else 0.0),
        watched,
        (lambda _question: True) if yes else typer.confirm,
    )
    try:
        with remote.connected() as client:
            Walk(client, plan).go()
    except KeyboardInterrupt:
        raise Stopped("stopped. Run this again to go on") from None
