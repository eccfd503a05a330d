"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
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
    """A tuple of texts or of frozen dataclasses, kept as JSON. Reading what is no such list raises ValueError."""

    impl = Text
    element: ClassVar[type]

    def process_bind_param(self, value: tuple[E, ...] | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else _adapter(self.element).dump_json(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[E, ...] | None:  # noqa: ARG002
        return None if value is None else _adapter(self.element).validate_json(value)


@cache
def _adapter(element: type) -> TypeAdapter[Any]:
    return TypeAdapter(tuple[element, ...])  # type: ignore[valid-type]
