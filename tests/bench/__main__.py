"""The entrance: `python -m bench`, behind `make bench`. A goal that is missed is told, and is no failure."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench import cores, machine, picture, report
from bench.commits import is_here
from bench.cores import Cores
from bench.figures import Line, Loaded, Plan, Steps
from bench.populate import populate
from bench.scenarios import (
    a_million,
    before_after,
    call_budget,
    creates,
    databases,
    headline,
    many_merchants,
    revokes,
    timing,
    webhooks,
    workers,
)

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
PICTURE = PAGE.with_suffix(".svg")
BEFORE = "12d0c73"
"""The last commit at which every caller was an administrator."""
FULL = Plan(
    warm_ups=1, rounds=15, seconds=1.0, few=1_000, many=100_000, working_set=200, creates=100, asks=1_000,
    before=BEFORE, finer=3, headline=7, most=1_000_000, callers=12_000,
)  # fmt: skip
QUICK = Plan(
    warm_ups=0, rounds=1, seconds=0.2, few=50, many=100, working_set=10, creates=10, asks=5, before=BEFORE, finer=1,
    headline=1, most=200, callers=10,
)  # fmt: skip

Scenario = Callable[[Path, Plan, Cores, Steps], Sequence[Line]]


class Section(StrEnum):
    """The parts of the report."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    E = "E"
    G = "G"
    H = "H"
    I = "I"  # noqa: E741 - the letter of a section
    J = "J"
    K = "K"
    L = "L"


SCENARIOS: dict[Section, Scenario] = {
    Section.A: headline.run,
    Section.B: many_merchants.run,
    Section.C: creates.run,
    Section.D: before_after.run,
    Section.E: timing.run,
    Section.G: webhooks.run,
    Section.H: workers.run,
    Section.I: revokes.run,
    Section.J: databases.run,
    Section.K: a_million.run,
    Section.L: call_budget.run,
}
BY_H2LOAD = (Section.A, Section.D, Section.G, Section.H, Section.J, Section.L)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Very short: shows that it runs, not how fast.")] = False,
    only: Annotated[Section | None, typer.Option(help="One section.", case_sensitive=False)] = None,
    rounds: Annotated[
        int | None,
        typer.Option(help=f"Rounds of each measurement; by default {FULL.rounds}, and {FULL.headline} of A.", min=1),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help=f"Length of a round under load, {FULL.seconds:g} by default.", min=0.1)
    ] = None,
    before: Annotated[str, typer.Option(help="The commit that D measures this tree against.")] = BEFORE,
    write: Annotated[bool, typer.Option("--write", help="Write docs/performance.md and its picture too.")] = False,
) -> None:
    """Measure keysvc beside a bare gRPC server, a bare token, OpenBao, and itself at an earlier commit.

    All of it takes about 45 minutes, A alone 15. State stands in TMPDIR: let it be a real disk with 5 GB free.
    """
    sections = [only] if only else list(Section)
    if set(BY_H2LOAD) & set(sections) and shutil.which("h2load") is None:
        needing = ", ".join(BY_H2LOAD)
        typer.echo(f"bench: h2load is missing, which {needing} need: apt-get install nghttp2-client", err=True)
        raise typer.Exit(1)
    if Section.D in sections and not is_here(before):
        typer.echo(
            f"bench: D is left out: git has no commit {before} here. Fetch it, or name one by --before", err=True
        )
        sections.remove(Section.D)
    plan = QUICK if quick else FULL
    plan = replace(
        plan, rounds=rounds or plan.rounds, headline=rounds or plan.headline, seconds=seconds or plan.seconds,
        before=before,
    )  # fmt: skip
    # The bench has databases of its own, whatever the environment names.
    os.environ.pop("KEYSVC_DATABASE_URL", None)
    chosen = cores.choose()
    with tempfile.TemporaryDirectory(prefix="keysvc-bench-") as directory, report.ProgressSteps() as steps:
        state = Path(directory)
        described = machine.describe(state, chosen, plan)
        # Threads that start from here on, those of gRPC too, stay on the load's core.
        with cores.on_cores(chosen.load):
            rows = _measure(state, plan, chosen, steps, sections)
    report.show(rows, described)
    if write:
        _write(rows, described, _options(plan, quick, only))


def _measure(state: Path, plan: Plan, chosen: Cores, steps: Steps, sections: list[Section]) -> list[Line]:
    home = state / "few"
    populate(home, plan.few_numbers, chosen, steps.begin(f"making {plan.few:,} merchants", plan.few))
    return [row for section in sections for row in SCENARIOS[section](home, plan, chosen, steps)]


def _write(lines: list[Line], described: dict[str, str], options: str) -> None:
    shown = [line for line in lines if isinstance(line, Loaded)]
    if shown:
        PICTURE.write_text(picture.drawn(shown))
    PAGE.write_text(report.markdown(lines, described, options, PICTURE.name if shown else None))


def _options(plan: Plan, quick: bool, only: Section | None) -> str:
    chosen = f"{' --quick' if quick else ''}{f' --only {only}' if only else ''}"
    return f"{chosen} --rounds {plan.rounds} --seconds {plan.seconds:g} --before {plan.before}"


if __name__ == "__main__":
    app(prog_name="python -m bench")
