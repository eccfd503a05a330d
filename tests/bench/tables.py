"""How each kind of line is shown, as the cells of its table; and what all lines say of the goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from statistics import median

from bench.figures import Goal, Line, Loaded, Overlap, Paced, Row, Series, Verdict

_RATIOS = ("of OpenBao's", "of OpenBao dev mode's", "of bare echo's")
_COLUMNS: Mapping[type[Line], tuple[str, ...]] = {
    Row: ("what", "n", "median", "min..max", "ratio (min..max)", "goal", ""),
    Loaded: (
        "server", "n", "in flight", "batch of", "verifications/s (min..max)", "p50 ms", "p99 ms",
        "CPU µs/verification", "MiB", *_RATIOS,
    ),
    Paced: (
        "server", "n", "calls come at", "calls/s (min..max)", "p50 ms", "p99 ms (min..max)",
        *(f"p99 {ratio}" for ratio in _RATIOS),
    ),
    Overlap: ("first", "n of each", "median (p10..p90)", "second", "median (p10..p90)", "first is slower"),
}  # fmt: skip
GOAL_COLUMNS = ("section", "goal of", "goal", "found", "")


def columns(line: Line) -> tuple[str, ...]:
    return _COLUMNS[type(line)]


def cells(line: Line) -> tuple[str, ...]:
    match line:
        case Row():
            return _of_row(line)
        case Loaded():
            return _of_loaded(line)
        case Paced():
            return _of_paced(line)
        case Overlap():
            return _of_overlap(line)


def goal_cells(lines: Iterable[Line]) -> Iterator[tuple[str, ...]]:
    """A line for each goal of a section. Where several figures have the same, it is of the one that is worst."""
    verdicts = [verdict for line in lines for verdict in line.verdicts]
    for _, same in groupby(sorted(verdicts, key=_goal_key), key=_goal_key):
        its = list(same)
        worst = min(its, key=lambda verdict: verdict.share)
        what = f"{worst.what} (the worst of {len(its)})" if len(its) > 1 else worst.what
        yield worst.section, what, _told(worst.goal, worst.of), _figure(worst), "met" if worst.met else "not met"


def _goal_key(verdict: Verdict) -> tuple[str, str, str]:
    return verdict.section, verdict.of, str(verdict.goal)


def _told(goal: Goal, of: str) -> str:
    """A ratio's goal says what it is to: a server, or whose figure."""
    if not of:
        return str(goal)
    whose = of if of.endswith("'s") else f"{of}'s"
    return f"{goal} of {whose}"


def _figure(verdict: Verdict) -> str:
    return _ratio(verdict.found) if verdict.of else f"{verdict.found:,.0f} {verdict.goal.unit}"


def _of_row(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        f"{row.calls:,}",
        f"{_number(median(row.values))} {row.unit}",
        _spread(row.values, _number),
        f"{_ratios(row.ratios)} of {row.ratio_to}" if row.ratios else "",
        str(row.goal) if row.goal else "",
        "".join("met" if verdict.met else "not met" for verdict in row.verdicts),
    )


def _of_loaded(line: Loaded) -> tuple[str, ...]:
    return (
        line.server,
        f"{line.calls:,}",
        f"{line.in_flight}",
        f"{line.items:,}",
        f"{_whole(median(line.rates))} ({_spread(line.rates, _whole)})",
        _milliseconds(median(line.p50)),
        _milliseconds(median(line.p99)),
        f"{median(line.cpu):,.1f}",
        _whole(median(line.memory)),
        *_of_others(line.ratios),
    )


def _of_paced(line: Paced) -> tuple[str, ...]:
    return (
        line.server,
        f"{line.calls:,}",
        line.pace,
        f"{_whole(median(line.rates))} ({_spread(line.rates, _whole)})",
        _milliseconds(median(line.p50)),
        f"{_milliseconds(median(line.p99))} ({_spread(line.p99, _milliseconds)})",
        *_of_others(line.ratios),
    )


def _of_others(ratios: Mapping[str, Series]) -> Iterator[str]:
    """In the order of the columns."""
    for of in ("OpenBao", "OpenBao dev mode", "bare echo"):
        yield _ratios(ratios[of]) if of in ratios else ""


def _of_overlap(line: Overlap) -> tuple[str, ...]:
    first, second = _quantiles(line.firsts), _quantiles(line.seconds)
    return line.first, f"{len(line.firsts):,}", first, line.second, second, f"{line.slower:.2f}"


def _quantiles(taken: Series) -> str:
    ordered = sorted(taken)
    low, high = ordered[len(ordered) // 10], ordered[len(ordered) * 9 // 10]
    return f"{median(taken):,.0f} µs ({low:,.0f}..{high:,.0f})"


def _spread(values: Series, form: Callable[[float], str]) -> str:
    return f"{form(min(values))}..{form(max(values))}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 10 and value != round(value) else _whole(value)


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:,.3g}" if microseconds < 1e6 else f"{microseconds / 1000:,.0f}"


def _ratios(ratios: Series) -> str:
    return f"{_ratio(median(ratios))} ({_spread(ratios, _ratio)})"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
