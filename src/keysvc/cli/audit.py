"""`keysvc audit`: checking the audit record, and writing it out. Reads only, and works beside running servers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from keysvc.cli import wiring
from keysvc.cli.beside import Dev, progress, reading, settings_of
from keysvc.cli.files import private_file
from keysvc.hsm.module import Module
from keysvc.model.audit import ChainEnd, time_text
from keysvc.model.errors import Misconfigured
from keysvc.service.audit import AuditReader, AuditSigner, json_line
from keysvc.service.audit_check import PAGE, ChainCheck, Report
from keysvc.service.bootstrap import require_bound

app = typer.Typer(no_args_is_help=True, help="The audit record.")

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


@app.command()
def verify(
    *,
    dev: Dev = False,
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="SEQUENCE:HASH", help="A head noted elsewhere. May be repeated."),
    ] = None,
    allow_unsigned: Annotated[
        bool,
        typer.Option("--allow-unsigned", help="Signatures may be missing: the token was away for a while."),
    ] = False,
) -> None:
    """Check every event of the audit record, and every signature over it. Names the first event that is wrong."""
    noted = [_parse_head(text) for text in head or []]
    settings = settings_of(dev=dev)
    # One call at a time is made of the token.
    config = replace(wiring.token_config(settings), workers=1)
    with wiring.opened(settings, Module(config.module_path), config) as core:
        require_bound(core.store, core.token)
        check = ChainCheck(core.store, AuditSigner(core.token), noted)
        with progress() as bar:
            task = bar.add_task("events", total=check.total)
            for checked in check.run():
                bar.update(task, completed=checked)
        core.anchoring.require_held()
        if not allow_unsigned:
            check.require_signatures()
    typer.echo("\n".join(_told(check.report())))


@app.command()
def export(
    *,
    dev: Dev = False,
    output: Annotated[Path | None, typer.Option(help="A file to write, mode 0600, in the place of stdout.")] = None,
    after: Annotated[int, typer.Option(min=0, metavar="SEQUENCE", help="Only the events after this one.")] = 0,
) -> None:
    """Write the events as JSON lines, in the chain's order. Needs no token."""
    with reading(settings_of(dev=dev)) as store:
        reader = AuditReader(store)
        end, _ = reader.head()
        with private_file(output) if output else nullcontext(sys.stdout) as file, progress() as bar:
            task = bar.add_task("events", total=max(0, end.sequence - after))
            for page in reader.pages(after, PAGE):
                file.writelines(f"{json_line(event)}\n" for event in page)
                bar.advance(task, len(page))


def _parse_head(text: str) -> ChainEnd:
    match = _HEAD.fullmatch(text)
    if match is None:
        raise Misconfigured(f"--head {text!r} is no head: write SEQUENCE:HASH, the hash 64 hexadecimal digits")
    return ChainEnd(int(match[1]), match[2])


def _told(report: Report) -> Iterator[str]:
    if report.first_time is None or report.last_time is None:
        yield "right: there are no events yet"
        return
    yield f"right: {report.end.sequence} events, from {time_text(report.first_time)} to {time_text(report.last_time)}"
    if report.signed is None:
        yield "not signed yet: all of them rest on the chain alone"
    else:
        yield f"signed up to event {report.signed.sequence}, at {time_text(report.signed.time)}"
        yield f"{report.unsigned} events since then rest on the chain alone"
    yield f"head {report.end.sequence}:{report.end.hash}"
