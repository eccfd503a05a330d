"""Alembic's environment and versions. Run by `keysvc db upgrade`."""
