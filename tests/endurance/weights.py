"""Choices between strategies that keep their weights: hypothesis makes one flat choice of nested ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy


def mostly(usual: SearchStrategy[Any], other: SearchStrategy[Any], once_in: int) -> SearchStrategy[Any]:
    """`other` once in so many times."""
    turns = st.sampled_from([False] * (once_in - 1) + [True])
    return turns.flatmap(lambda turn: other if turn else usual)
