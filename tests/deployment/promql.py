"""What an expression of Prometheus' language asks for: metrics, and labels of them."""

from __future__ import annotations

from dataclasses import dataclass

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Expr, VectorSelector


@dataclass(frozen=True)
class Selected:
    """One selector: `name{label="value"}`."""

    name: str
    values: dict[str, str]
    """What each label is held against: a value, or a regular expression."""


@dataclass(frozen=True)
class Asked:
    """All that one expression names."""

    selected: tuple[Selected, ...]
    grouped: frozenset[str]
    """Labels that results are grouped, or series matched, by."""


def asked(expression: str) -> Asked:
    """Raises ValueError for what cannot be parsed."""
    parts: list[Expr] = []
    promql_parser.walk(promql_parser.parse(expression), parts.append)
    return Asked(
        tuple(_selected(part) for part in parts if isinstance(part, VectorSelector)),
        frozenset(label for part in parts for label in _grouped(part)),
    )


def _selected(selector: VectorSelector) -> Selected:
    return Selected(str(selector.name), {matcher.name: matcher.value for matcher in selector.matchers.matchers})


def _grouped(part: Expr) -> list[str]:
    if isinstance(part, AggregateExpr) and part.modifier is not None:
        return part.modifier.labels
    if isinstance(part, BinaryExpr) and part.modifier is not None:
        matching = part.modifier.matching
        return [*(matching.labels if matching else []), *(part.modifier.group_labels or [])]
    return []
