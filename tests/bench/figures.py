"""What was measured, as values: a line of the report has series of one value a round, and perhaps ratios with goals."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

Series = list[float]
"""One value a round."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    warm_ups: int
    """Rounds under load that are not counted."""
    rounds: int
    seconds: float
    few: int
    many: int
    working_set: int
    creates: int
    asks: int
    """Of each kind of question whose times are compared."""
    before: str
    """The commit that the tree is measured against."""
    finer: int
    """Rounds of that comparison in the place of each, shorter by as much: a ratio so near to its goal needs many."""
    headline: int
    """Rounds of section A, which has the most to measure in each."""
    most: int
    """Merchants on PostgreSQL."""
    callers: int
    """Of those merchants: more than a worker remembers."""

    @property
    def few_numbers(self) -> range:
        """Which merchants the few are: spread over the many."""
        return range(0, self.many, self.many // self.few)


@dataclass(frozen=True, slots=True)
class Goal:
    """What the median should be, of the ratios or, where nothing is compared, of the values."""

    limit: float
    at_least: bool
    unit: str = ""
    """Of a goal that is no ratio."""

    def met(self, found: float) -> bool:
        return found >= self.limit if self.at_least else found <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:,g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found where there is a goal."""

    section: str
    what: str
    goal: Goal
    of: str
    """What the ratio is to; empty where nothing is compared."""
    found: float

    @property
    def met(self) -> bool:
        return self.goal.met(self.found)

    @property
    def share(self) -> float:
        """How much of the goal is reached: under 1 where it is not met."""
        return self.found / self.goal.limit if self.goal.at_least else self.goal.limit / self.found


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. `calls` is how many were measured in all rounds together."""

    section: str
    what: str
    calls: int
    values: Series
    unit: str
    ratios: Series | None = None
    ratio_to: str = ""
    goal: Goal | None = None

    @property
    def verdicts(self) -> list[Verdict]:
        if self.goal is None:
            return []
        return [Verdict(self.section, self.what, self.goal, self.ratio_to, median(self.ratios or self.values))]


@dataclass(frozen=True, slots=True)
class Loaded:
    """One line of the headline's table: a server, with so many calls in flight, of so many verifications each."""

    section: str
    server: str
    items: int
    in_flight: int
    calls: int
    rates: Series
    """Verifications a second."""
    p50: Series
    """Microseconds until a call is answered."""
    p99: Series
    cpu: Series
    """Microseconds of the server's processor time a verification."""
    memory: Series
    """MiB resident after the round."""
    ratios: Mapping[str, Series] = field(default_factory=dict)
    """Of the rates to those of other servers, by their names."""
    goals: Mapping[str, Goal] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[Verdict]:
        kind = "VerifyHmac" if self.items == 1 else f"batches of {self.items:,}"
        what = f"{self.server}: {kind}, {self.in_flight} in flight"
        return [Verdict(self.section, what, goal, of, median(self.ratios[of])) for of, goal in self.goals.items()]


@dataclass(frozen=True, slots=True)
class Paced:
    """One line of the table beside it: a server that is sent calls at a rate, however slowly it answers."""

    section: str
    server: str
    pace: str
    calls: int
    rates: Series
    """Calls a second."""
    p50: Series
    """Microseconds from when a call was due until it is answered."""
    p99: Series
    ratios: Mapping[str, Series] = field(default_factory=dict)
    """Of the p99 to those of other servers."""
    goals: Mapping[str, Goal] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[Verdict]:
        what = f"{self.server}: p99 at {self.pace}"
        return [Verdict(self.section, what, goal, of, median(self.ratios[of])) for of, goal in self.goals.items()]


@dataclass(frozen=True, slots=True)
class Overlap:
    """How long two kinds of questions took, each once a call, in microseconds."""

    section: str
    first: str
    second: str
    firsts: Series
    seconds: Series

    @property
    def verdicts(self) -> list[Verdict]:
        return []

    @property
    def slower(self) -> float:
        """How likely a call of the first kind takes longer than one of the second: 0.5 where time tells nothing.

        The area under the ROC curve, by ranks (Mann and Whitney's U).
        """
        others = sorted(self.seconds)
        below = sum(bisect_left(others, taken) + bisect_right(others, taken) for taken in self.firsts) / 2
        return below / (len(self.firsts) * len(others))


Line = Row | Loaded | Paced | Overlap


def quantile(ordered: Sequence[float], share: float) -> float:
    """What so large a share of them is not above."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def pairwise(values: Series, base: Series) -> Series:
    """Ratios within each round: what slowed a whole round down, slowed both."""
    return [value / other for value, other in zip(values, base, strict=True)]


class Steps(Protocol):
    """Tells a person how far a long job is."""

    def begin(self, what: str, total: int) -> Callable[[int], None]:
        """Returns what to call with the number of steps done since the last call."""
