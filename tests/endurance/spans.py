"""Spans of time, and what is known of something that was so for a while."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Nanoseconds, both ends included. An end may be infinite."""

    begin: float
    end: float

    def within(self, other: Span) -> bool:
        return other.begin < self.begin and self.end < other.end

    def touches(self, other: Span) -> bool:
        return self.begin <= other.end and other.begin <= self.end


@dataclass(frozen=True, slots=True)
class Bounds:
    """The span in which something surely was so, and the longest in which it possibly was."""

    surely: Span
    possibly: Span

    @classmethod
    def of(cls, birth: Span, ends: Sequence[Span]) -> Bounds:
        """Of what came about within `birth`, and was ended by the first of `ends`."""
        earliest = min((end.begin for end in ends), default=math.inf)
        latest = min((end.end for end in ends), default=math.inf)
        return cls(surely=Span(birth.end, earliest), possibly=Span(birth.begin, latest))


ALWAYS = Span(-math.inf, -math.inf)
"""When what was so from the beginning came about."""
