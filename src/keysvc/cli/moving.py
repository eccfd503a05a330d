"""`keysvc import` and `keysvc export`: merchants and their secrets moving in, and what is known of them written out.

Beside the service, on its token and database: a change over gRPC is one commit each, and a file is many thousands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from keysvc.cli import flat_rows, logs, wiring
from keysvc.cli.assembly import Core
from keysvc.cli.beside import Dev, patiently, progress, reading, settings_of
from keysvc.cli.files import is_private, private_file
from keysvc.cli.moving_file import Line, MovingFile
from keysvc.cli.remote import Stopped
from keysvc.hsm.lacks import Lack
from keysvc.hsm.module import Module
from keysvc.model.errors import Misconfigured
from keysvc.model.moving import Entry, Outcome, Result
from keysvc.service import inventory
from keysvc.service.moving_in import BATCH, MovingIn

_STDIN = Path("-")
_HANDLES = 64
"""Keys held in the token at once: each is used once at most."""
_COLUMNS = tuple(field.name for field in fields(Outcome))
_AT_ONCE = 1 << 20


def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="CSV or JSON lines, mode 0600 where secrets are in plain; - is stdin."),
    ],
    *,
    report: Annotated[
        Path | None, typer.Option(help="What became of each line: JSON lines, or CSV. [FILE.report.jsonl]")
    ] = None,
    dev: Dev = False,
) -> None:
    """Take in merchants and the secrets that they already use.

    A line is taken in wholly or not at all, and one that is refused stops no other. Run it again after anything: what
    is there is left as it is. Exit code 3: some lines were refused.
    """
    logs.to_stderr(logs.for_people())
    report = report or _report_beside(file)
    if report.absolute() == file.absolute():
        raise Misconfigured(f"{report} is the file that moves in: name another with --report")
    settings = settings_of(dev=dev)
    config = replace(wiring.token_config(settings), workers=1, handle_cache=_HANDLES)
    with _opened(file) as source, wiring.in_use(settings, Module(config.module_path), config) as core:
        try:
            counts = _moved_in(core, source, file, report)
        except KeyboardInterrupt:
            raise Stopped("stopped. Run this again to go on: what was taken in stays") from None
        if Lack.ANCHOR not in core.token.lacking:
            core.anchoring.advance()
    told = f"{counts[Result.CREATED]} created, {counts[Result.ALREADY_THERE]} already there"
    if counts[Result.REFUSED]:
        raise Stopped(f"{told}, {counts[Result.REFUSED]} refused: {report} says why")
    typer.echo(f"{told}, none refused; {report} tells of each line")


def export(
    *,
    output: Annotated[
        Path | None, typer.Option(help="A file to write, mode 0600, in the place of stdout; CSV where it ends in .csv.")
    ] = None,
    dev: Dev = False,
) -> None:
    """Write what is known of all merchants and their credentials, as JSON lines or CSV: never a key. Needs no token."""
    with reading(settings_of(dev=dev)) as store, progress() as bar:
        task = bar.add_task("merchants", total=None)
        with private_file(output) if output else nullcontext(sys.stdout) as file:
            write = flat_rows.writer(file, output, inventory.COLUMNS)
            for page in inventory.pages(store, wiring.now):
                for row in page:
                    write(row)
                bar.advance(task, len({row["merchant_id"] for row in page}))


def _moved_in(core: Core, source: BinaryIO, file: Path, report: Path) -> dict[Result, int]:
    """How many lines came to what."""
    moving = MovingIn(core.store, core.token, core.sealer, core.digester, core.now)
    counts = dict.fromkeys(Result, 0)
    lines = MovingFile(source, lambda number: _require_private(source, file, number))
    with private_file(report) as reported, progress() as bar:
        write = flat_rows.writer(reported, report, _COLUMNS)
        task = bar.add_task("lines", total=_count(source))
        for batch in _batches(lines):
            for outcome in _taken_in(core, moving, batch):
                write({name: getattr(outcome, name) for name in _COLUMNS})
                counts[outcome.result] += 1
            bar.update(task, completed=batch[-1].line)
    return counts


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    rest = iter(lines)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _taken_in(core: Core, moving: MovingIn, batch: Sequence[Line]) -> list[Outcome]:
    """What became of these lines, in their order. Tries for a while where it cannot be done now."""
    entries = [line for line in batch if isinstance(line, Entry)]
    taken = {outcome.line: outcome for outcome in patiently(core.token.heal, lambda: moving.take_in(entries))}
    return [line if isinstance(line, Outcome) else taken[line.line] for line in batch]


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if file == _STDIN:
        yield sys.stdin.buffer
        return
    try:
        source = file.open("rb")
    except OSError as error:
        raise Misconfigured(f"Cannot read {file}: {error.strerror}") from None
    with source:
        yield source


def _require_private(source: BinaryIO, file: Path, line: int) -> None:
    """Raises Misconfigured where others can read a file that holds secrets."""
    if not is_private(source.fileno()):
        raise Misconfigured(f"{file} holds a secret in plain in line {line}, and others can read it: chmod 600 it")


def _count(source: BinaryIO) -> int | None:
    """Lines of a file; None of what is read as it comes."""
    if not source.seekable():
        return None
    lines = sum(some.count(b"\n") for some in iter(lambda: source.read(_AT_ONCE), b""))
    source.seek(0)
    return lines


def _report_beside(file: Path) -> Path:
    if file == _STDIN:
        raise Misconfigured("Say with --report where to write what became of each line")
    return file.with_name(f"{file.name}.report.jsonl")
