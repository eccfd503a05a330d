"""What was measured, as values: a row is a series of one value a round, and perhaps a ratio and its goal."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
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
    def met(self) -> bool | None:
        """None where there is no goal."""
        return self.goal.met(median(self.ratios or self.values)) if self.goal else None


@dataclass(frozen=True, slots=True)
class Overlap:
    """How long two kinds of questions took, each once a call, in microseconds."""

    section: str
    first: str
    second: str
    firsts: Series
    seconds: Series

    @property
    def slower(self) -> float:
        """How likely a call of the first kind takes longer than one of the second: 0.5 where time tells nothing.

        The area under the ROC curve, by ranks (Mann and Whitney's U).
        """
        others = sorted(self.seconds)
        below = sum(bisect_left(others, taken) + bisect_right(others, taken) for taken in self.firsts) / 2
        return below / (len(self.firsts) * len(others))


def pairwise(values: Series, base: Series) -> Series:
    """Ratios within each round: what slowed a whole round down, slowed both."""
    return [value / other for value, other in zip(values, base, strict=True)]


class Steps(Protocol):
    """Tells a person how far a long job is."""

    def begin(self, what: str, total: int) -> Callable[[int], None]:
        """Returns what to call with the number of steps done since the last call."""
