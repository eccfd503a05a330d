"""Alembic runs this: it migrates on the connection that `keysvc.store.schema` passes in."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import keysvc.store.audit_tables
import keysvc.store.own_tables
import keysvc.store.tables  # noqa: F401 - all three fill the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transactional_ddl=True,
)
context.run_migrations()
