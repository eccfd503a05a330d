"""One contract kit for the store: every test runs on SQLite and on PostgreSQL."""
