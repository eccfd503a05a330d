"""How the figures are shown: tables to a person, a line a row to a program, Markdown to the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.figures import Line
from bench.tables import GOAL_COLUMNS, cells, columns, goal_cells

READING = (
    "Medians and min..max are over rounds, and n counts the calls of all rounds. What is compared runs in turns; a"
    " ratio is taken within each round, and its median is held against the goal: the values' where nothing is compared."
)
SECTIONS = {
    "A": "Verifications of HMACs of 460-byte messages, each server in turn on one core, the load on another. keysvc as"
    " it is served: with authentication, the audit record, the epoch, the log of calls, metrics, and keys in a token;"
    " one message is VerifyHmac, more are BatchVerifyHmac, of one key where the line says nothing else. OpenBao's"
    " transit/verify, with a `batch_input` for more than one message, called with its root token, its key held in"
    " memory: with raft storage and a file audit device, and in dev mode, which has neither. The bare grpcio server"
    " has as many threads as keysvc and echoes the bytes that keysvc is sent; typed, it reads and writes VerifyHmac's"
    " messages. The load is h2load's: one connection of HTTP/2 to the gRPC servers; to OpenBao, which speaks no HTTP/2"
    " without TLS, one of HTTP/1.1 for each call in flight. Times are those of whole calls. Servers that are compared"
    " have three turns in a round, of half its seconds each, and medians are over turns. MiB are resident after one, in"
    " servers that serve all rounds. In the second table calls come at random moments at a rate, however"
    " slowly they are answered, over up to 64 connections to OpenBao, and a time is from when a call was due; a"
    " server's most is the best of its rates in the same round, in which it has four turns of these.",
    "B": "VerifyHmac where the database holds many merchants, and where it holds few; the same merchants are called in"
    " both, 16 calls in flight, from a Python client that checks every answer. Every round has servers of its own.",
    "C": "CreateCredential of an HMAC key on SQLite, against what the token takes to generate and wrap one.",
    "D": "VerifyHmac of a 460-byte message, as in A, by the code of an earlier commit and by this one: what the kinds"
    " of principals, their limits, the log of calls and the metrics cost. Each has a server and a token of its own.",
    "E": "Times of single calls that are answered alike and should take alike, asked in turns by a Python client. (A"
    " token's own name tells whether there is one: that pair is for comparison.) The last column is how likely a"
    " call of the first kind takes longer than one of the second: 0.5 is no difference. The first line compares a"
    " kind with itself.",
    "G": "VerifyWebhook beside VerifyHmac of the same 460-byte body under the same key, by h2load, with authentication,"
    " the log of calls and metrics.",
    "H": "VerifyHmac of a 460-byte message on SQLite, by h2load, 64 calls in flight over 16 connections: `keysvc serve`"
    " on one core with the load on the other, and `keysvc serve --workers 2` on both with the load beside them."
    " Capacity is what the cores would answer if the load took nothing of them: cores by the servers' processor time a"
    " call. Below: how SO_REUSEPORT spreads connections, which are new in each round; 50% is even.",
    "I": "Three replicas on PostgreSQL (without fsync) have all used a key when it is revoked on the first of them;"
    " once that has answered, all three are asked at once until each has refused. All run on the same cores as their"
    " callers and the database. A round is 100 revokes.",
    "J": "VerifyHmac of a 460-byte message, as in A, with the database in SQLite's file and in PostgreSQL on a Unix"
    " socket, whose server is on the load's core. At most 15% fewer calls is the goal, with 64 in flight.",
    "K": "Merchants with five filled slots each, every row with its MAC by the token, on PostgreSQL (without fsync) on"
    " the load's core: a million against a thousand, asked in turns by a Python client, VerifyHmac with 16 calls in"
    " flight and all else one after another, call by call in turns; the administrator asks where no other is named. A"
    " worker's memory is what the kernel tells of it once it has let through more merchants and callers than it"
    " remembers.",
    "L": "The budget of one verification: the server's processor time a call, as in A, and that of its steps, each done"
    " over and over in a process of its own without gRPC, so that caches are warmer there than under load. The steps'"
    " sum is nearly that of the service as one. A read of the epoch is shared by the calls that came in together.",
}


class ProgressSteps:
    """Bars on stderr, where a person reads it. Drawn only when a step is done, never while one is measured."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal)

    def __enter__(self) -> ProgressSteps:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, what: str, total: int) -> Callable[[int], None]:
        task = self._progress.add_task(what, total=total)
        self._progress.refresh()

        def done(steps: int) -> None:
            self._progress.advance(task, steps)
            self._progress.refresh()

        return done


def show(lines: list[Line], machine: dict[str, str]) -> None:
    """To stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        print("\n".join(plain(lines, machine)))
        return
    for title, listed in _tables(lines):
        table = Table(*columns(listed[0]), title=title, title_justify="left")
        for line in listed:
            table.add_row(*cells(line), style="bold" if line.verdicts else "")
        console.print(table)
    if goals := list(goal_cells(lines)):
        table = Table(*GOAL_COLUMNS, title="Goals", title_justify="left")
        for goal in goals:
            table.add_row(*goal)
        console.print(table)
    console.print(READING, *(f"{name}: {value}" for name, value in machine.items()), sep="\n")


def plain(lines: list[Line], machine: dict[str, str]) -> list[str]:
    """A line a row: its section and its cells, set apart by tabs. Goals follow, after the word goal."""
    return [
        *("\t".join((line.section, *cells(line))) for line in lines),
        *("\t".join(("goal", *goal)) for goal in goal_cells(lines)),
        *(f"{name}: {value}" for name, value in machine.items()),
    ]


def markdown(lines: list[Line], machine: dict[str, str], options: str, picture: str | None = None) -> str:
    """The page docs/performance.md. `picture` is the file of section A's, beside it."""
    page = ["# Performance", ""]
    if goals := list(goal_cells(lines)):
        page += ["## Goals", "", *_table(GOAL_COLUMNS, goals), ""]
    page += [f"Written by `make bench` (`python -m bench --write{options}`): run it again rather than edit this.", ""]
    page += [READING, ""]
    for title, listed in _tables(lines):
        if title:
            section, _, text = title.partition(". ")
            page += [f"## {section}", "", text, ""]
        if picture and title.startswith("A. "):
            page += [f"![The table that follows, drawn]({picture})", ""]
        page += [*_table(columns(listed[0]), list(map(cells, listed))), ""]
    page += ["## The machine", "", *(f"- {name}: {value}" for name, value in machine.items())]
    return "\n".join(page) + "\n"


def _tables(lines: list[Line]) -> Iterator[tuple[str, list[Line]]]:
    """A section has a table for each kind of its lines; the first has the section's title."""
    for section, its_lines in groupby(lines, lambda line: line.section):
        title = f"{section}. {SECTIONS[section]}"
        for _, listed in groupby(its_lines, type):
            yield title, list(listed)
            title = ""


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [_line(heads), _line(("---",) * len(heads)), *map(_line, rows)]


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell or " " for cell in cells) + " |"
