"""`keysvc hsm`: the token's own keys. Asking and approving go over gRPC; replacing needs the token, and runs beside it.

A replacement may be stopped at any time: all state is in the database, and the next run goes on where it was.
"""

from __future__ import annotations

import uuid
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from keysvc.cli import wiring
from keysvc.cli.beside import Dev, settings_of
from keysvc.cli.remote import Stopped, connected, is_watched
from keysvc.cli.replacing import Replacement
from keysvc.cli.settings import read_so_pin
from keysvc.client import Client, HsmKey
from keysvc.model.hsm_keys import HSM_KEYS, PENDING, Purpose

app = typer.Typer(no_args_is_help=True, help="The token's own keys.")

_SERVICE = "HsmKeyService"
_KEY = typer.Argument(metavar="KEY", help="Such as wrapping-2, as `keysvc hsm keys` names it.")


@app.command()
def keys() -> None:
    """List the generations of the token's own keys, and who agreed to them."""
    with connected() as client:
        lines = [_line(key) for key in _listed(client)]
    titles = ("key", "state", "rows left", "asked by", "approved by")
    if not is_watched():
        typer.echo("\n".join("\t".join(line) for line in lines))
        return
    table = Table(*titles)
    for line in lines:
        table.add_row(*line)
    Console().print(table)


@app.command()
def request(purpose: Annotated[Purpose, typer.Argument(help="Of the key that is to be replaced.")]) -> None:
    """Ask for the next generation, also while one before it is still to go. The rotate commands ask by themselves."""
    with connected() as client:
        name = _requested(client, purpose)
    typer.echo(f"requested {name.removeprefix(HSM_KEYS)}: another administrator has to approve it")


@app.command()
def approve(key: Annotated[str, _KEY]) -> None:
    """Agree to a replacement that another administrator asked for."""
    with connected() as client:
        client.call(f"{_SERVICE}/ApproveHsmKey", {"name": _name(key), "request_id": uuid.uuid4().hex})
    purpose = key.removeprefix(HSM_KEYS).partition("-")[0]
    typer.echo(f"approved {key}: `keysvc hsm rotate-{purpose}-key` carries it out")


@app.command()
def withdraw(key: Annotated[str, _KEY]) -> None:
    """Take back a replacement that is not carried out yet."""
    with connected() as client:
        client.call(f"{_SERVICE}/WithdrawHsmKey", {"name": _name(key), "request_id": uuid.uuid4().hex})
    typer.echo(f"withdrew {key}")


@app.command("rotate-wrapping-key")
def rotate_wrapping_key(*, dev: Dev = False) -> None:
    """Wrap every merchant's key anew, and destroy the old wrapping key: with it go erased keys of old backups."""
    _rotate(Purpose.WRAPPING, dev=dev)


@app.command("rotate-row-key")
def rotate_row_key(*, dev: Dev = False) -> None:
    """Make the MAC of every stored row anew, and destroy the old row key."""
    _rotate(Purpose.ROW, dev=dev)


@app.command("rotate-digest-key")
def rotate_digest_key(*, dev: Dev = False) -> None:
    """Make new digests with a new key. The old one goes when the last secret that it digested was renewed."""
    _rotate(Purpose.DIGEST, dev=dev)


@app.command("rotate-audit-key")
def rotate_audit_key(*, dev: Dev = False) -> None:
    """Sign the audit record with a new key. The old one stays, to check what it signed."""
    _rotate(Purpose.AUDIT, dev=dev)


def _rotate(purpose: Purpose, *, dev: bool) -> None:
    """Asks where nobody has, and carries out what is agreed to. Raises Stopped, Misconfigured."""
    settings = settings_of(dev=dev)
    so_pin = wiring.token_config(settings).pin if dev else read_so_pin(settings)
    replacement = Replacement(settings, purpose, so_pin)
    with replacement.alone():
        approved, going = replacement.stand()
        if approved is not None:
            replacement.put_into_use(approved)
            going.append(approved - 1)
        elif not going or purpose is Purpose.AUDIT:
            _ask(purpose)
        if purpose is Purpose.AUDIT:
            typer.echo("the older ones stay, to check what they signed")
            return
        for generation in going:
            replacement.empty(generation)


def _ask(purpose: Purpose) -> None:
    """Raises Stopped: another administrator has to agree."""
    with connected() as client:
        asked = [key.name for key in _listed(client) if key.name.startswith(f"{HSM_KEYS}{purpose}-") and _pending(key)]
        name = asked[0] if asked else _requested(client, purpose)
    key = name.removeprefix(HSM_KEYS)
    raise Stopped(f"{key} is asked for: another administrator runs `keysvc hsm approve {key}`; then run this again")


def _requested(client: Client, purpose: Purpose) -> str:
    fields = {"purpose": purpose.name, "request_id": uuid.uuid4().hex}
    return str(client.call(f"{_SERVICE}/RequestHsmKey", fields).name)


def _listed(client: Client) -> list[HsmKey]:
    return list(client.call(f"{_SERVICE}/ListHsmKeys", {}).keys)


def _pending(key: HsmKey) -> bool:
    return _state(key) in PENDING


def _line(key: HsmKey) -> tuple[str, ...]:
    people = (key.requester, key.approver)
    return key.name.removeprefix(HSM_KEYS), _state(key), str(key.rows or ""), *map(_person, people)


def _name(key: str) -> str:
    return key if key.startswith(HSM_KEYS) else f"{HSM_KEYS}{key}"


def _state(key: HsmKey) -> str:
    return HsmKey.State.Name(key.state)


def _person(name: str) -> str:
    return name.removeprefix("principals/")
