"""`keysvc db`: the database's schema, and a database that was restored from an older backup."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import typer

from keysvc.cli import wiring
from keysvc.cli.beside import Dev, settings_of
from keysvc.cli.settings import read_settings
from keysvc.hsm.module import Module
from keysvc.model.audit import time_text
from keysvc.model.errors import Misconfigured
from keysvc.service.anchoring import Accepted, DatabaseOlder
from keysvc.service.bootstrap import require_bound

app = typer.Typer(no_args_is_help=True, help="The database: its schema, and one that was restored.")

_QUESTION = (
    "Every keysvc process on this database must be stopped, and stay so until this is done.\n"
    "Take this database as it is, and lose what was changed since?"
)


@app.command()
def upgrade() -> None:
    """Bring the database to the newest schema."""
    before, after = wiring.upgrade_database(read_settings())
    typer.echo(f"the database is at schema {after}" + ("" if before == after else f", it was at {before or 'none'}"))


@app.command("accept-restored")
def accept_restored(
    *,
    dev: Dev = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. All keysvc processes are stopped.")] = False,
) -> None:
    """Take an older database as it is, where no newer backup is left. What was revoked since is live again."""
    settings = settings_of(dev=dev)
    config = replace(wiring.token_config(settings), workers=1)
    with wiring.opened(settings, Module(config.module_path), config) as core:
        if core.store.bindings():
            require_bound(core.store, core.token)
        try:
            core.anchoring.require_held()
        except DatabaseOlder as older:
            _confirm(older, yes=yes)
        else:
            typer.echo("nothing to accept: the database has all that the token's anchor tells")
            return
        accepted = core.anchoring.accept()
    typer.echo("\n".join(_told(accepted)))


def _confirm(older: DatabaseOlder, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Misconfigured(f"{older.message}. It asks before it does so: give --yes where there is no terminal")
    typer.echo(older.message, err=True)
    typer.confirm(_QUESTION, abort=True, err=True)


def _told(accepted: Accepted) -> Iterator[str]:
    yield f"accepted: the database goes on at epoch {accepted.epoch}, and no process uses what it remembers"
    since = time_text(accepted.newest_event) if accepted.newest_event else "its beginning"
    until = f"{time_text(accepted.anchored)}, and what came after until keysvc stopped" if accepted.anchored else "now"
    yield f"lost: what was changed from {since} to {until}"
    yield "revoke, renew and suspend again what was in that time; keys made in it are gone, and must be made anew"
    yield "then start keysvc. A process that was not stopped must be started anew"
