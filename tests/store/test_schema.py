"""Migrations: from nothing to the newest schema, which is the one that the models describe."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect
from sqlmodel import SQLModel
from support.databases import Database
from support.postgres import Postgres

import keysvc.store.audit_tables
import keysvc.store.own_tables
import keysvc.store.tables  # noqa: F401 - all three fill the metadata
from keysvc.model.errors import KeysvcError, Misconfigured
from keysvc.store import schema
from keysvc.store.engine import open_engine
from store.gated import until

NEWEST = "0005"
_UPGRADE = """
import sys
from keysvc.store import schema
from keysvc.store.engine import open_engine
schema.upgrade(open_engine(sys.argv[1]))
"""
DETAILS = ("get_columns", "get_pk_constraint", "get_foreign_keys", "get_unique_constraints", "get_indexes",
           "get_check_constraints")  # fmt: skip


def test_an_empty_database_is_brought_to_the_newest_schema(new_empty: Callable[[], Database]) -> None:
    database = new_empty()
    assert (None, NEWEST) == schema.upgrade(database.engine())
    schema.require_newest(database.engine())
    assert [{"id": 1, "value": 0, "hsm_keys": 0}] == database.rows("epoch")


def test_a_second_upgrade_changes_nothing(new_empty: Callable[[], Database]) -> None:
    engine = new_empty().engine()
    schema.upgrade(engine)
    before = _described(engine)
    assert (NEWEST, NEWEST) == schema.upgrade(engine)
    assert before == _described(engine)


def test_two_upgrades_at_once_end_well(postgres: Postgres) -> None:
    """Two replicas are started on a new database, and both are held up in the middle of their work."""
    database = Database(postgres.new_database())
    with database.second_writer() as writer:
        writer.exec_driver_sql("CREATE TABLE credential (in_the_way INTEGER)")
        programs = [subprocess.Popen([sys.executable, "-c", _UPGRADE, database.url]) for _ in range(2)]
        until(lambda: len(database.rows("pg_locks", "NOT granted")) == len(programs))
        writer.rollback()
    assert [0, 0] == [program.wait(20) for program in programs]
    schema.require_newest(database.engine())
    database.close()


def test_an_upgrade_that_fails_leaves_nothing_behind(new_empty: Callable[[], Database]) -> None:
    database = new_empty()
    database.execute("CREATE TABLE principal (id INTEGER)")  # in the way of the migration, midway
    with pytest.raises(KeysvcError):
        schema.upgrade(database.engine())
    assert {"principal"} >= set(inspect(database.engine()).get_table_names())


def test_a_database_without_a_schema_is_refused(new_empty: Callable[[], Database]) -> None:
    with pytest.raises(Misconfigured, match=r"at schema none .* run `keysvc db upgrade`"):
        schema.require_newest(new_empty().engine())


@pytest.mark.parametrize("revision", ["0000", "9999"])
def test_a_database_of_another_schema_is_refused(database: Database, revision: str) -> None:
    database.execute(f"UPDATE alembic_version SET version_num = '{revision}'")
    with pytest.raises(Misconfigured, match=f"at schema {revision} and this version needs {NEWEST}"):
        schema.require_newest(database.engine())
    # The tables of this test run's database are shared on PostgreSQL.
    database.execute(f"UPDATE alembic_version SET version_num = '{NEWEST}'")


def test_an_upgrade_of_a_newer_database_is_refused_in_our_words(new_empty: Callable[[], Database]) -> None:
    """An older version of keysvc was started on it."""
    database = new_empty()
    schema.upgrade(database.engine())
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Misconfigured, match="9999"):
        schema.upgrade(database.engine())


def test_autogenerate_finds_nothing_to_do(database: Database) -> None:
    with database.engine().connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert [] == compare_metadata(context, SQLModel.metadata)


def test_migrations_make_what_the_models_describe(new_empty: Callable[[], Database]) -> None:
    """To the last CHECK, which autogenerate does not compare."""
    migrated, made = new_empty().engine(), new_empty().engine()
    schema.upgrade(migrated)
    SQLModel.metadata.create_all(made)
    assert _described(made) == _described(migrated)


@pytest.mark.parametrize(
    "url",
    ["", "keysvc.db", "://", "postgresql://host:port/name", "mysql://host/name", "postgresql+asyncpg://host/name",
     "sqlite+aiosqlite:///keysvc.db", "oracle://host/name"],
)  # fmt: skip
def test_a_url_that_is_of_no_use_is_told_in_one_line(url: str) -> None:
    with pytest.raises(Misconfigured) as told:
        open_engine(url)
    assert 1 == len(told.value.message.splitlines())


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    """Each connection would have one of its own, and all would be lost with the process."""
    with pytest.raises(Misconfigured):
        open_engine(url)


def test_a_password_in_the_url_is_never_told() -> None:
    engine = open_engine("postgresql://keysvc:hunter2@localhost/name")
    assert "hunter2" not in repr(engine) + str(engine.url)
    with pytest.raises(Misconfigured) as told:
        open_engine("mysql://keysvc:hunter2@localhost/name")
    assert "hunter2" not in told.value.message


def _described(engine: Engine) -> dict[str, Any]:
    """All that the database tells of its tables, but for alembic's own."""
    inspector = inspect(engine)
    return {
        f"{table} {detail}": sorted(json.dumps(one, default=str) for one in _listed(getattr(inspector, detail)(table)))
        for table in inspector.get_table_names()
        if table != "alembic_version"
        for detail in DETAILS
    }


def _listed(told: Any) -> list[Any]:
    return told if isinstance(told, list) else [told]
