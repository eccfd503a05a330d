"""SQL: tables, queries, transactions, the epoch and migrations.

The only layer that imports sqlmodel, sqlalchemy and alembic. Stores and finds records; decides
nothing, and checks no MAC: that is for the services.
"""
