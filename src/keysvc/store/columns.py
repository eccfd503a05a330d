"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import astuple, is_dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import DateTime, Dialect, Text
from sqlalchemy.types import TypeDecorator

E = TypeVar("E")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC to the microsecond. SQLite has no time zones, so it is given none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)  # type: ignore[no-any-return]


class Listed(TypeDecorator[tuple[E, ...]], Generic[E]):
    """A tuple of texts or of frozen dataclasses, kept as JSON, in a row that carries a MAC.

    What was altered until it is no such list is read as an empty one: the row's MAC then fails as for any other
    alteration, unless the list is empty indeed.
    """

    impl = Text
    element: ClassVar[type]

    def process_bind_param(self, value: tuple[E, ...] | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else _adapter(self.element).dump_json(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[E, ...] | None:  # noqa: ARG002
        if value is None:
            return None
        try:
            return _utc_only(_adapter(self.element).validate_json(value))
        except ValueError:
            return ()


def _utc_only(found: tuple[E, ...]) -> tuple[E, ...]:
    """Raises ValueError for a time that was not written here: ours are aware and UTC."""
    for each in found:
        times = [
            value
            for value in (astuple(each) if is_dataclass(each) and not isinstance(each, type) else ())
            if isinstance(value, datetime)
        ]
        if any(time.utcoffset() != timedelta(0) for time in times):
            raise ValueError("a time that is not in UTC")
    return found


@cache
def _adapter(element: type) -> TypeAdapter[Any]:
    return TypeAdapter(tuple[element, ...])  # type: ignore[valid-type]
