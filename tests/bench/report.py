"""How the figures are shown: tables to a person, a line a row to a program, Markdown to the documentation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.figures import Overlap, Row, Series

Line = Row | Overlap

COLUMNS = ("what", "n", "median", "min..max", "ratio (min..max)", "goal", "")
OVERLAP_COLUMNS = ("first", "n of each", "median (p10..p90)", "second", "median (p10..p90)", "first is slower")
READING = (
    "Medians and min..max are over rounds, and n counts the calls of all rounds. What is compared runs in turns; a"
    " ratio is taken within each round, and its median is held against the goal: the values' where nothing is compared."
)
SECTIONS = {
    "A": "VerifyHmac of a 460-byte message over the wire, by h2load, the server on one core and the load on another."
    " Beside it a bare grpcio server with as many threads: its echo answers the request's bytes unread.",
    "B": "VerifyHmac where the database holds many merchants, and where it holds few; the same merchants are called in"
    " both, 16 calls in flight, from a Python client that checks every answer. Every round has servers of its own.",
    "C": "CreateCredential of an HMAC key on SQLite, against what the token takes to generate and wrap one.",
    "D": "VerifyHmac of a 460-byte message, as in A, by the code of an earlier commit and by this one: what the kinds"
    " of principals, their limits, the log of calls and the metrics cost. Each has a server and a token of its own.",
    "E": "Times of single calls that are answered alike and should take alike, asked in turns by a Python client. (A"
    " token's own name tells whether there is one: that pair is for comparison.) The last column is how likely a"
    " call of the first kind takes longer than one of the second: 0.5 is no difference. The first line compares a"
    " kind with itself.",
    "F": "BatchVerifyHmac of 100 messages of 460 bytes, and OpenBao's transit/verify with a batch_input of the same 100"
    " messages, by h2load, 16 calls in flight, each server on the same core in turn. keysvc as it is served: with"
    " authentication, the log of calls, metrics, and keys in a token; over one connection of HTTP/2. OpenBao over 16"
    " connections of HTTP/1.1 (it speaks no HTTP/2 without TLS), called with its root token, its key held in memory.",
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


def show(rows: list[Line], machine: dict[str, str]) -> None:
    """To stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        print("\n".join(plain(rows, machine)))
        return
    for section, its_rows in groupby(rows, lambda row: row.section):
        listed = list(its_rows)
        table = Table(*_columns(listed[0]), title=f"{section}. {SECTIONS[section]}", title_justify="left")
        for row in listed:
            table.add_row(*_cells(row), style="bold" if isinstance(row, Row) and row.goal else "")
        console.print(table)
    console.print(READING, *(f"{name}: {value}" for name, value in machine.items()), sep="\n")


def plain(rows: list[Line], machine: dict[str, str]) -> list[str]:
    """A line a row: its section and its cells, set apart by tabs."""
    return ["\t".join((row.section, *_cells(row))) for row in rows] + [f"{name}: {machine[name]}" for name in machine]


def markdown(rows: list[Line], machine: dict[str, str], options: str) -> str:
    """The page docs/performance.md."""
    lines = [
        "# Performance",
        "",
        f"Written by `make bench` (`python -m bench --write{options}`): run it again rather than edit this. {READING}",
        "",
    ]
    for section, its_rows in groupby(rows, lambda row: row.section):
        listed = list(its_rows)
        columns = _columns(listed[0])
        lines += [f"## {section}", "", SECTIONS[section], "", _line(columns), _line(("---",) * len(columns))]
        lines += [*(_line(_cells(row)) for row in listed), ""]
    lines += ["## The machine", "", *(f"- {name}: {value}" for name, value in machine.items())]
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell or " " for cell in cells) + " |"


def _columns(row: Line) -> tuple[str, ...]:
    return OVERLAP_COLUMNS if isinstance(row, Overlap) else COLUMNS


def _cells(row: Line) -> tuple[str, ...]:
    if isinstance(row, Overlap):
        first, second = _quantiles(row.firsts), _quantiles(row.seconds)
        return (row.first, f"{len(row.firsts):,}", first, row.second, second, f"{row.slower:.2f}")
    return (
        row.what,
        f"{row.calls:,}",
        f"{median(row.values):,.0f} {row.unit}",
        _spread(row.values, _whole),
        f"{_ratio(median(row.ratios))} ({_spread(row.ratios, _ratio)}) of {row.ratio_to}" if row.ratios else "",
        str(row.goal) if row.goal else "",
        "" if row.met is None else "met" if row.met else "not met",
    )


def _quantiles(taken: Series) -> str:
    ordered = sorted(taken)
    low, high = ordered[len(ordered) // 10], ordered[len(ordered) * 9 // 10]
    return f"{median(taken):,.0f} µs ({low:,.0f}..{high:,.0f})"


def _spread(values: Series, form: Callable[[float], str]) -> str:
    return f"{form(min(values))}..{form(max(values))}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
