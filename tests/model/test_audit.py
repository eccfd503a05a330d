"""The chain of hashes, against values that were computed by hand, and what a change of any field does to it."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keysvc.model.audit import (
    FIRST_HASH,
    AuditRecord,
    ChainedEvent,
    ChainEnd,
    event_hash,
    head_bytes,
    time_text,
)

EVENT = AuditRecord(
    time=datetime(2026, 5, 1, 12, 0, tzinfo=UTC), principal="principals/admin", method="/keysvc.v1.S/M",
    resource="merchants/m", version=3, outcome="REFUSED", reason="SLOT_EMPTY", request_id="r-1", peer="ipv4:1",
)  # fmt: skip
LISTED = (
    '["keysvc audit event 1",7,"2026-05-01T12:00:00.000000+00:00","principals/admin","/keysvc.v1.S/M","merchants/m",3,'
    f'"REFUSED","SLOT_EMPTY","r-1","ipv4:1","{FIRST_HASH}"]'
)
_TEXTS = st.text(max_size=5)


def test_the_hash_is_that_of_the_documented_text() -> None:
    assert hashlib.sha256(LISTED.encode()).hexdigest() == event_hash(7, EVENT, FIRST_HASH)


def test_the_signed_bytes_are_the_documented_ones() -> None:
    assert b'["keysvc audit head 1",7,"' + b"a" * 64 + b'","00ff"]' == head_bytes(7, "a" * 64, b"\x00\xff")
    assert b'["keysvc audit head 1",7,"' + b"a" * 64 + b'",""]' == head_bytes(7, "a" * 64, b"")


def test_characters_beyond_ascii_are_escaped() -> None:
    listed = LISTED.replace("merchants/m", "\\u00e9\\ud83d\\udd11")
    assert hashlib.sha256(listed.encode()).hexdigest() == event_hash(7, replace(EVENT, resource="é🔑"), FIRST_HASH)


def test_a_time_of_another_zone_is_the_same_instant() -> None:
    elsewhere = replace(EVENT, time=EVENT.time.astimezone(timezone(timedelta(hours=5, minutes=45))))
    assert event_hash(7, EVENT, FIRST_HASH) == event_hash(7, elsewhere, FIRST_HASH)
    assert "2026-05-01T12:00:00.000000+00:00" == time_text(elsewhere.time)


OTHER: dict[str, Any] = {"time": EVENT.time + timedelta(microseconds=1), "version": 4}


@pytest.mark.parametrize("field", [f.name for f in fields(AuditRecord)])
def test_every_field_is_hashed(field: str) -> None:
    changed = replace(EVENT, **{field: OTHER.get(field, "other")})
    assert event_hash(7, EVENT, FIRST_HASH) != event_hash(7, changed, FIRST_HASH)


def test_place_and_previous_hash_are_hashed() -> None:
    hashes = {event_hash(7, EVENT, FIRST_HASH), event_hash(8, EVENT, FIRST_HASH), event_hash(7, EVENT, "1" * 64)}
    assert 3 == len(hashes)


@given(_TEXTS, _TEXTS, _TEXTS, _TEXTS)
def test_nothing_moves_from_one_field_to_the_next(method: str, resource: str, other: str, another: str) -> None:
    one = event_hash(1, replace(EVENT, method=method, resource=resource), FIRST_HASH)
    two = event_hash(1, replace(EVENT, method=other, resource=another), FIRST_HASH)
    assert ((method, resource) == (other, another)) == (one == two)


def test_events_follow_the_end_of_the_chain() -> None:
    first = ChainedEvent.after(ChainEnd(), EVENT)
    second = ChainedEvent.after(ChainEnd(first.sequence, first.hash), EVENT)
    assert [(1, FIRST_HASH), (2, first.hash)] == [(e.sequence, e.previous_hash) for e in (first, second)]
    assert [event_hash(1, EVENT, FIRST_HASH), event_hash(2, EVENT, first.hash)] == [first.hash, second.hash]
