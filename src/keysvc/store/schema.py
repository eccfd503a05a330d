"""Bringing a database to the newest schema, and telling whether it is there."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from keysvc.model.errors import Misconfigured
from keysvc.store.engine import errors_told_apart, patient, reader_of

_LOCK = 0x6B657973
"""The advisory lock of upgrades on PostgreSQL: an arbitrary number, the same in every version."""
_UPGRADE_SECONDS = 24 * 3600.0
"""For each statement: one of them waits until another's upgrade has ended."""


def upgrade(engine: Engine) -> tuple[str | None, str | None]:
    """Applies what is missing, in one transaction; returns the revision before and after.

    Of several at once the first does it, and the others find it done. Raises Misconfigured where it cannot be done.
    """
    config = _config()
    try:
        with errors_told_apart(), patient(engine, _UPGRADE_SECONDS).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            context = MigrationContext.configure(connection)
            before = context.get_current_revision()
            _require_known(config, before)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return before, context.get_current_revision()
    except SQLAlchemyError as error:
        raise Misconfigured(
            "The database cannot be brought to the newest schema, and was not changed: it holds something else"
            f" ({type(error).__name__})"
        ) from error


def _require_known(config: Config, revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise Misconfigured(f"The database is at schema {revision}, which this version does not know: run a newer one")


def require_newest(engine: Engine) -> None:
    """Raises Misconfigured where the database is not at the revision of this code."""
    with errors_told_apart(), reader_of(engine).connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    if found != newest:
        raise Misconfigured(
            f"The database is at schema {found or 'none'} and this version needs {newest}: run `keysvc db upgrade`"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "keysvc.store:migrations")
    return config
