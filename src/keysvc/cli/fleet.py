"""`keysvc status`: all credentials seen together. Works over gRPC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from keysvc.cli import remote
from keysvc.client import Client, Credential

_COLUMNS = ("active", "inactive", "empty", "due", "overdue", "retiring_keys", "retiring_keys_used")
_ALARMING = frozenset({"overdue", "retiring_keys_used"})
_TIMEOUT = 60.0
"""Seconds: every row is read."""

Row = tuple[str, ...]


def status(
    *,
    merchant: Annotated[str, typer.Option(help="Of one merchant, by its id. Of all that the caller may see.")] = "-",
    due_days: Annotated[
        float,
        typer.Option(min=0, max=remote.MOST_DAYS, help="What counts as due: within so many days."),
    ] = 30,
    used_hours: Annotated[
        float,
        typer.Option(
            min=0,
            max=remote.MOST_DAYS * 24,
            help="What counts as still used: within so many hours.",
        ),
    ] = 24,
    most: Annotated[int, typer.Option(min=0, help="Credentials that are due to list at most.")] = 20,
) -> None:
    """Print the fleet: slots by state, those that are due, retiring keys and those of them that are still used."""
    with remote.connected() as client:
        parent, due_within = remote.merchant_name(merchant), timedelta(days=due_days)
        summary = client.summarize_credentials(
            parent, due_within=due_within, used_within=timedelta(hours=used_hours), timeout=_TIMEOUT
        )
        slots = [(slot.slot, *(str(getattr(slot, column)) for column in _COLUMNS)) for slot in summary.slots]
        due = _due(client, parent, due_within, most)
    if remote.is_watched():
        _show(summary.merchants, slots, due)
    else:
        _write(summary.merchants, slots, due)


def _due(client: Client, parent: str, within: timedelta, most: int) -> list[Row]:
    """(name, date, what it is) of the first ones, the most overdue first."""
    now = datetime.now(UTC)
    listed = client.list_credentials(parent, due_within=within, timeout=_TIMEOUT)
    # One that was renewed since it was listed is due no more.
    return [_due_row(credential, now) for credential in islice(listed, most) if credential.HasField("rotate_before")]


def _due_row(credential: Credential, now: datetime) -> Row:
    date = credential.rotate_before.ToDatetime(tzinfo=UTC)
    return credential.name, date.isoformat(timespec="seconds"), "overdue" if date <= now else "due"


def _show(merchants: int, slots: list[Row], due: list[Row]) -> None:
    console = Console()
    table = Table("slot", title=f"{merchants:,} merchant{'' if merchants == 1 else 's'}", title_justify="left")
    for column in _COLUMNS:
        table.add_column(column.replace("_", " "), justify="right")
    for name, *counts in slots:
        marked = [
            f"[bold red]{count}[/]" if column in _ALARMING and count != "0" else count
            for column, count in zip(_COLUMNS, counts, strict=True)
        ]
        table.add_row(name, *marked)
    console.print(table)
    if due:
        dates = Table("credential", "rotate before", "", title="Due first", title_justify="left")
        for name, date, what in due:
            dates.add_row(name, date, f"[bold red]{what}[/]" if what == "overdue" else what)
        console.print(dates)


def _write(merchants: int, slots: list[Row], due: list[Row]) -> None:
    """Fields parted by tabs, the first of which says what the line is."""
    typer.echo(f"merchants\t{merchants}")
    typer.echo("\t".join(("slot", "id", *_COLUMNS)))
    for row in slots:
        typer.echo("\t".join(("slot", *row)))
    for name, date, what in due:
        typer.echo("\t".join((what, name, date)))
