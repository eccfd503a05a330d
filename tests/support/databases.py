"""Migrated databases, one for each test that asks, and a second writer that knows nothing of keysvc.

The second writer is whoever else can reach the database: an administrator with a shell, a broken
script, an attacker. It writes plain SQL through connections of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url, text
from sqlmodel import SQLModel

from keysvc.model.audit import FIRST_HASH, SignedHead
from keysvc.store import schema
from keysvc.store.engine import open_engine
from keysvc.store.store import Store
from support.postgres import Postgres

Row = dict[str, Any]


class Database:
    """A database of one test's own. Every store and engine is another process to it."""

    def __init__(self, url: str, foreign: Engine | None = None) -> None:
        """`foreign` opens the second writer's connections; given where it is kept from test to test."""
        self.url = url
        self._foreign = foreign or foreign_engine(url)
        self._engines: list[Engine] = []
        self._stores: list[Store] = []

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    def engine(self) -> Engine:
        """As keysvc opens it."""
        engine = open_engine(self.url)
        self._engines.append(engine)
        return engine

    def store(self) -> Store:
        store = Store(self.engine(), unsigned)
        self._stores.append(store)
        return store

    def close(self) -> None:
        for store in self._stores:
            store.close()
        for engine in self._engines:
            engine.dispose()

    @contextmanager
    def second_writer(self, *, foreign_keys: bool = True) -> Iterator[Connection]:
        """One transaction of another program. SQLite holds foreign keys only where a connection asks for it."""
        with self._foreign.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
                connection.commit()
            with connection.begin():
                yield connection

    def execute(self, statement: str, *, foreign_keys: bool = True) -> int:
        """Runs one statement as the second writer; returns how many rows it touched."""
        with self.second_writer(foreign_keys=foreign_keys) as writer:
            return writer.execute(text(statement)).rowcount

    def rows(self, table: str, where: str = "true") -> list[Row]:
        """What stands in the table, as the driver gives it."""
        with self.second_writer() as reader:
            return [dict(row) for row in reader.execute(text(f"SELECT * FROM {table} WHERE {where}")).mappings()]

    def count(self, table: str) -> int:
        return len(self.rows(table))

    def insert(self, table: str, row: Row, *, foreign_keys: bool = True) -> None:
        with self.second_writer(foreign_keys=foreign_keys) as writer:
            _insert(writer, table, row)

    def put_back(self, table: str, row: Row, *, foreign_keys: bool = True) -> None:
        """Restores a row that `rows` gave, in the place of the one with its primary key if there is one."""
        key = [column.name for column in SQLModel.metadata.tables[table].primary_key]
        values = ", ".join(f"{name} = :{name}" for name in row)
        where = " AND ".join(f"{name} = :{name}" for name in key)
        with self.second_writer(foreign_keys=foreign_keys) as writer:
            if not writer.execute(text(f"UPDATE {table} SET {values} WHERE {where}"), row).rowcount:
                _insert(writer, table, row)


class SqliteDatabases:
    """Copies of one migrated file: a migration takes longer than most tests."""

    def __init__(self, directory: Path) -> None:
        self._template = directory / "template.db"
        engine = open_engine(f"sqlite:///{self._template}")
        schema.upgrade(engine)
        engine.dispose()

    def new(self, directory: Path) -> Database:
        path = directory / "keysvc.db"
        shutil.copyfile(self._template, path)
        return Database(f"sqlite:///{path}")


class PostgresDatabases:
    """One migrated database, emptied for each test: making one for each would take most of the tests' time."""

    def __init__(self, server: Postgres) -> None:
        self._url = server.new_database()
        self._foreign = foreign_engine(self._url)
        engine = open_engine(self._url)
        schema.upgrade(engine)
        engine.dispose()

    def new(self) -> Database:
        """The database as its migration left it, with no one else in it."""
        database = Database(self._url, self._foreign)
        with database.second_writer() as writer:
            writer.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            # Deleting rows counts too: from where no test has been, and what it notes is deleted last.
            writer.exec_driver_sql("UPDATE epoch SET value = 1000000000 + value")
            for table in reversed(SQLModel.metadata.sorted_tables):
                if table.name not in ("epoch", "audit_tail"):
                    writer.exec_driver_sql(f"DELETE FROM {table.name}")
            writer.exec_driver_sql("DELETE FROM change")
            writer.exec_driver_sql("UPDATE epoch SET value = 0")
            writer.execute(text("UPDATE audit_tail SET sequence = 0, hash = :hash"), {"hash": FIRST_HASH})
        return database


def unsigned(_sequence: int, _digest: str, _last: SignedHead | None) -> tuple[int, bytes]:
    """In the place of the token's audit key, for tests of the store alone."""
    return 1, bytes(32)


def foreign_engine(url: str) -> Engine:
    """For connections that know nothing of keysvc: a new one each time, so that none lingers."""
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return create_engine(parsed, poolclass=NullPool)


def _insert(writer: Connection, table: str, row: Row) -> None:
    values = ", ".join(f":{name}" for name in row)
    writer.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"), row)
