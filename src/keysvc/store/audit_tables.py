"""The tables of the audit record: its events, where their chain ends, and the signatures over it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from keysvc.store.columns import UtcDateTime


class AuditEvent(SQLModel, table=True):
    """model.audit.ChainedEvent, in the order of the transactions."""

    __tablename__ = "audit_event"
    __table_args__ = (Index("ix_audit_event_resource", "resource", postgresql_ops={"resource": "text_pattern_ops"}),)

    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    time: datetime = Field(sa_type=UtcDateTime)
    principal: str
    method: str
    resource: str
    version: int
    outcome: str
    reason: str
    request_id: str
    peer: str
    previous_hash: str = Field(sa_column_kwargs={"server_default": text("''")})
    hash: str = Field(sa_column_kwargs={"server_default": text("''")})


class AuditTail(SQLModel, table=True):
    """model.audit.ChainEnd: one row, moved with every event, so that a missing last event shows at once."""

    __tablename__ = "audit_tail"
    __table_args__ = (CheckConstraint("id = 1", name="ck_audit_tail_one_row"),)

    id: int = Field(primary_key=True)
    sequence: int = Field(sa_type=BigInteger)
    hash: str


class AuditHead(SQLModel, table=True):
    """model.audit.SignedHead"""

    __tablename__ = "audit_head"

    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    hash: str
    time: datetime = Field(sa_type=UtcDateTime)
    generation: int
    signature: bytes
