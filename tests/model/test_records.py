"""The bytes that a record's MAC covers: every field, each in one reading, and the same in every release."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keysvc.model.principals import PrincipalRecord
from keysvc.model.records import KeyRecord, MerchantRecord, SlotRecord, meaning
from keysvc.model.slots import HmacAlgorithm, Kind, Slot

RECORDS: list[type[Any]] = [MerchantRecord, SlotRecord, KeyRecord, PrincipalRecord]
START = datetime(2026, 7, 1, 12, 0, 0, 250_000, tzinfo=UTC)
# Few values, alike ones among them, so that a field often takes what could be read as its neighbour.
VALUES: dict[type[Any], st.SearchStrategy[Any]] = {
    str: st.sampled_from(["", "1", "null", 'a","b', "é", "00"]) | st.text(max_size=4),
    int: st.integers(0, 3),
    bool: st.booleans(),
    bytes: st.binary(max_size=2),
    datetime: st.sampled_from([START, START + timedelta(microseconds=1), START + timedelta(days=1)]),
}


def covered(record_type: type[Any]) -> dict[str, st.SearchStrategy[Any]]:
    """The fields that the MAC covers, with values for each."""
    hints = typing.get_type_hints(record_type)
    return {field.name: values(hints[field.name]) for field in fields(record_type) if field.name != "mac"}


def values(hint: Any) -> st.SearchStrategy[Any]:
    if isinstance(hint, types.UnionType):
        return st.one_of([values(part) for part in typing.get_args(hint)])
    if hint is type(None):
        return st.none()
    return st.sampled_from(hint) if issubclass(hint, Enum) else VALUES[hint]


@st.composite
def records(draw: st.DrawFn) -> Any:
    record_type = draw(st.sampled_from(RECORDS))
    return record_type(**{name: draw(strategy) for name, strategy in covered(record_type).items()})


def content(record: Any) -> tuple[Any, ...]:
    return (type(record), *(getattr(record, name) for name in covered(type(record))))


@given(records(), records())
def test_two_records_share_their_bytes_only_when_they_are_the_same(one: Any, other: Any) -> None:
    assert (content(one) == content(other)) is (meaning(one) == meaning(other))


@given(records(), st.data())
def test_a_change_of_any_two_fields_changes_the_bytes(record: Any, data: st.DataObject) -> None:
    """Two at once: what one field loses the other might take up."""
    strategies = covered(type(record))
    names = data.draw(st.lists(st.sampled_from(sorted(strategies)), min_size=1, max_size=2, unique=True))
    changed = replace(record, **{name: data.draw(strategies[name]) for name in names})
    assert (content(record) == content(changed)) is (meaning(record) == meaning(changed))


def key_record(**changes: Any) -> KeyRecord:
    record = KeyRecord(
        merchant_id="m-1", slot=Slot.PRIMARY_HMAC_KEY, version=2, kind=Kind.HMAC_KEY,
        hmac_algorithm=HmacAlgorithm.HMAC_SHA256, material=b"\x00\xff", generation=1, fingerprint="0f",
        create_time=START, expire_time=None, mac=b"mac", mac_generation=3,
    )  # fmt: skip
    return replace(record, **changes)


CHANGES: dict[str, Any] = {
    "merchant_id": "m-2",
    "slot": Slot.SECONDARY_HMAC_KEY,
    "version": 3,
    "kind": Kind.ENCRYPTION_KEY,
    "hmac_algorithm": None,
    "material": b"\x00\xfe",
    "generation": 2,
    "fingerprint": "1f",
    "create_time": START + timedelta(microseconds=1),
    "expire_time": START,
    "mac_generation": 4,
}


@pytest.mark.parametrize("name", [field.name for field in fields(KeyRecord) if field.name != "mac"])
def test_every_field_of_a_key_counts(name: str) -> None:
    assert meaning(key_record()) != meaning(key_record(**{name: CHANGES[name]}))


def test_the_mac_itself_does_not_count() -> None:
    assert meaning(key_record(mac=b"")) == meaning(key_record(mac=b"another"))


def test_a_key_means_the_same_bytes_in_every_release() -> None:
    """Were they others, every stored row would fail its check: such a change needs rows sealed anew."""
    expected = (
        '["KeyRecord","m-1","primary-hmac-key",2,"HMAC_KEY","HMAC_SHA256","00ff",1,"0f",'
        '"2026-07-01T12:00:00.250000+00:00",null,3]'
    )
    assert expected.encode() == meaning(key_record())


def test_the_same_instant_means_the_same_in_any_zone() -> None:
    """A database gives times back in the zone that it likes."""
    elsewhere = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert meaning(key_record()) == meaning(key_record(create_time=elsewhere))


def test_a_whole_second_is_written_as_any_other() -> None:
    whole = key_record(create_time=START.replace(microsecond=0))
    assert b"12:00:00.000000+00:00" in meaning(whole)


def test_a_retiring_key_lives_until_its_time_and_not_at_it() -> None:
    retiring = key_record(expire_time=START)
    assert retiring.retiring
    assert retiring.live(START - timedelta(microseconds=1))
    assert not retiring.live(START)


def test_a_current_key_lives_for_ever() -> None:
    assert not key_record().retiring
    assert key_record().live(datetime.max.replace(tzinfo=UTC))
