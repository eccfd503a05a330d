"""Bringing a database to the newest schema, and telling whether it is there."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from keysvc.model.errors import Misconfigured
from keysvc.store.engine import errors_told_apart, reader_of


def upgrade(engine: Engine) -> tuple[str | None, str | None]:
    """Applies what is missing, in one transaction; returns the revision before and after."""
    with errors_told_apart(), engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        context = MigrationContext.configure(connection)
        before = context.get_current_revision()
        command.upgrade(config, "head")
        return before, context.get_current_revision()


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
