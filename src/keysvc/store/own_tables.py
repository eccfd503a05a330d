"""The tables of the service's own books: what was carried out, what changed, and which token it all belongs to.

Merchants, credentials and principals are in `tables`, the audit record in `audit_tables`.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint
from sqlmodel import Field, SQLModel

from keysvc.store.columns import UtcDateTime


class Request(SQLModel, table=True):
    """A request_id that was carried out, so that it is not carried out twice."""

    __tablename__ = "request"

    principal: str = Field(primary_key=True, max_length=64)
    request_id: str = Field(primary_key=True, max_length=64)
    resource: str
    version: int
    time: datetime = Field(sa_type=UtcDateTime, index=True)


class UsedJwt(SQLModel, table=True):
    """A JWT that has authenticated a call, so that it does not authenticate another. By a hash of its `jti`."""

    __tablename__ = "used_jwt"

    principal: str = Field(primary_key=True, max_length=64)
    jti_hash: bytes = Field(primary_key=True)
    expire_time: datetime = Field(sa_type=UtcDateTime, index=True)


class Epoch(SQLModel, table=True):
    """One row: how often anything changed that an answer may depend on, and how often the token's own keys did."""

    __tablename__ = "epoch"
    __table_args__ = (CheckConstraint("id = 1", name="ck_epoch_one_row"),)

    id: int = Field(primary_key=True)
    value: int = Field(sa_type=BigInteger)
    hsm_keys: int = Field(sa_column_kwargs={"server_default": "0"})


class Change(SQLModel, table=True):
    """What changed at each epoch: `merchants/{m}`, `principals/{p}` or `hsmKeys/{k}`."""

    __tablename__ = "change"

    epoch: int = Field(primary_key=True, sa_type=BigInteger)
    subject: str


class TokenBinding(SQLModel, table=True):
    """Which token keys this database was written with: a MAC of a fixed text by each."""

    __tablename__ = "token_binding"

    purpose: str = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    check_value: bytes
