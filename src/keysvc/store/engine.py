"""Connections to SQLite or PostgreSQL, set up so that a transaction means the same on both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from keysvc.model.errors import Integrity, Misconfigured, StoreUnavailable
from keysvc.store.postgresql import Silent, give_time, postgresql_engine

POOL_SIZE = 20
_BUSY_MILLISECONDS = 1000
_AUTOCOMMIT = "AUTOCOMMIT"
_SECONDS = "keysvc_seconds"
_OUT_OF_REACH = (OperationalError, InternalError, DatabaseError)
"""The last as it is, not the kinds derived from it: SQLite tells so of a file that is no database."""

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit that returned survives a power cut
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # what a revoked key leaves in the file is overwritten
    f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}",
)


class StoreSilent(StoreUnavailable):
    """The database was waited for, and said nothing."""


def open_engine(url: str) -> Engine:
    """An engine for `sqlite:///PATH` or `postgresql+psycopg://…`. Raises Misconfigured; does not connect yet."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise Misconfigured(
            "KEYSVC_DATABASE_URL is no database URL: write sqlite:///PATH or postgresql://HOST/NAME"
        ) from None
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise Misconfigured("KEYSVC_DATABASE_URL names a database in memory: write sqlite:///PATH")
        engine = create_engine(parsed, pool_size=POOL_SIZE, hide_parameters=True)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    if parsed.drivername == "postgresql+psycopg":
        engine = postgresql_engine(parsed, POOL_SIZE)
        event.listen(engine, "begin", _give_time)
        return engine
    raise Misconfigured(f"KEYSVC_DATABASE_URL names {parsed.drivername}: keysvc runs on sqlite and postgresql")


def sqlite_url(file: Path) -> str:
    """The URL of a database file, whatever characters its path holds."""
    return URL.create("sqlite", database=str(file.absolute())).render_as_string()


def reader_of(engine: Engine) -> Engine:
    """The same connections for single statements, each of which sees one instant by itself: no transaction, no lock."""
    return engine.execution_options(isolation_level=_AUTOCOMMIT)


def patient(engine: Engine, seconds: float) -> Engine:
    """The same connections for what runs beside the calls: a statement, or SQLite's lock, may take so long."""
    return engine.execution_options(**{_SECONDS: seconds})


def unavailable(error: BaseException | None) -> StoreUnavailable:
    """What a driver's error is told as."""
    told = StoreSilent if isinstance(error, Silent) else StoreUnavailable
    return told("The database does not answer: try again")


@contextmanager
def errors_told_apart() -> Iterator[None]:
    """Turns SQLAlchemy's errors into ours: contradicting rows, or a database out of reach."""
    try:
        yield
    except IntegrityError:
        raise Integrity("The stored rows contradict this change; nothing was changed") from None
    except DatabaseError as error:
        if type(error) not in _OUT_OF_REACH:
            raise  # a statement of ours is wrong
        raise unavailable(error.orig) from error
    except (InterfaceError, PoolTimeoutError) as error:
        raise unavailable(None) from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # The driver begins no transactions of its own; `_begin_immediate` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    """Takes the write lock at the start: two changes never find out midway that they collide."""
    options = connection.get_execution_options()
    if options.get("isolation_level") == _AUTOCOMMIT:
        return
    if _SECONDS in options:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(options[_SECONDS] * 1000)}")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        if _SECONDS in options:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")


def _give_time(connection: Connection) -> None:
    seconds = connection.get_execution_options().get(_SECONDS)
    if seconds is not None:
        give_time(connection, seconds)
