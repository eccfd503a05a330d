"""Records from rows and rows from records: the fields of both have the same names."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.exc import DataError
from sqlmodel import SQLModel

R = TypeVar("R")

UNREADABLE = (ValueError, TypeError, OverflowError, DataError)
"""What reading a value that keysvc never writes ends with."""


def table_of(model: type[SQLModel]) -> Table:
    """The Core table of a SQLModel class: the store reads with Core, which costs a fifth of the ORM."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


def to_record(record_type: type[R], table: Table, row: Mapping[Any, Any]) -> R:
    """The record of this table's columns in a row, which may be of a join. Raises ValueError for an unknown word."""
    return record_type(
        **{
            name: enum(value) if enum and (value := row[table.c[name]]) is not None else row[table.c[name]]
            for name, enum in _enums(record_type)  # type: ignore[arg-type]  # a class is hashable
        }
    )


def to_row(record: Any) -> dict[str, Any]:
    """The column values of a record."""
    return {name: getattr(record, name) for name in _names(type(record))}  # type: ignore[arg-type]  # a class is hashable


@lru_cache(maxsize=32)
def _names(record_type: type[Any]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(record_type))


@lru_cache(maxsize=32)
def _enums(record_type: type[Any]) -> tuple[tuple[str, Callable[[str], StrEnum] | None], ...]:
    hints = typing.get_type_hints(record_type)
    return tuple((f.name, _enum_in(hints[f.name])) for f in fields(record_type))


def _enum_in(hint: Any) -> type[StrEnum] | None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, StrEnum)), None)
