"""The bytes that a record's MAC covers: every field, each in one reading, and the same in every release."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keysvc.model.principals import PrincipalKind, PrincipalRecord, PrincipalState, RetiringPassword
from keysvc.model.records import (
    KeyRecord,
    MerchantRecord,
    MerchantState,
    MerchantToken,
    SlotRecord,
    SlotState,
    TokenSetRecord,
    meaning,
)
from keysvc.model.slots import HmacAlgorithm, Kind, SecretFormat, Slot

RECORDS: list[type[Any]] = [MerchantRecord, SlotRecord, KeyRecord, TokenSetRecord, PrincipalRecord]
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
    if typing.get_origin(hint) is tuple:
        return st.lists(values(typing.get_args(hint)[0]), max_size=2).map(tuple)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{field.name: values(hints[field.name]) for field in fields(hint)})
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
    "made_in": Slot.SECONDARY_HMAC_KEY,
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


def merchant_record() -> MerchantRecord:
    return MerchantRecord(
        merchant_id="m-1", display_name="Zoë", psp="PSP_42", acquirer=None, state=MerchantState.ACTIVE,
        create_time=START, update_time=START, revision=2, mac=b"mac", mac_generation=3,
    )  # fmt: skip


def slot_record() -> SlotRecord:
    return SlotRecord(
        merchant_id="m-1", slot=Slot.API_PASSWORD, state=SlotState.INACTIVE, version=2, hmac_algorithm=None,
        secret_format=SecretFormat.HEX_UPPER_32, fingerprint="0f", weak_key=False, retiring_fingerprints="1f",
        create_time=START, renew_time=None, revoke_time=START, revision=3, mac=b"mac", mac_generation=3,
    )  # fmt: skip


def token_set() -> TokenSetRecord:
    return TokenSetRecord(
        merchant_id="m-1",
        tokens=(
            MerchantToken("t-1", "00ff", 1, "0f", START, None),
            MerchantToken("t-2", "ff00", 2, "f0", START, START + timedelta(days=1)),
        ),
        revision=4, mac=b"mac", mac_generation=3,
    )  # fmt: skip


def principal_record(**changes: Any) -> PrincipalRecord:
    """As schema 0001 knew it."""
    record = PrincipalRecord(
        principal_id="admin", kind=PrincipalKind.ADMIN, state=PrincipalState.ACTIVE, password_digest=b"\x00\xff",
        digest_generation=1, create_time=START, revision=2, mac=b"mac", mac_generation=3,
    )  # fmt: skip
    return replace(record, **changes)


NOON = '"2026-07-01T12:00:00.250000+00:00"'
NEXT_DAY = '"2026-07-02T12:00:00.250000+00:00"'
PRINCIPAL = f'"PrincipalRecord","admin","ADMIN","ACTIVE","00ff",1,{NOON},2,3'
LATER: dict[str, tuple[Any, str]] = {
    "merchants": (("m-1", "m-2"), '["m-1","m-2"]'),
    "can_edit_credentials": (True, "true"),
    "remote_access": (True, "true"),
    "can_sign": (True, "true"),
    "spiffe_id": ("spiffe://example.org/a", '"spiffe://example.org/a"'),
    "jwt_public_keys": (("PEM\n",), '["PEM\\n"]'),
    "update_time": (START, NOON),
    "password_time": (START, NOON),
    "retiring_passwords": ((RetiringPassword("00ff", 1, START),), f'[["00ff",1,{NOON}]]'),
}
"""Each field that schema 0002 added to principals, with a value and what stands for it in the bytes."""
LATER_ELSEWHERE: dict[type[Any], tuple[Any, dict[str, tuple[Any, str]]]] = {
    SlotRecord: (slot_record(), {"rotate_before": (START, NOON)}),
    KeyRecord: (key_record(), {"made_in": (Slot.SECONDARY_HMAC_KEY, '"secondary-hmac-key"')}),
}
"""The same of schema 0003, with a record as 0001 and 0002 knew it."""


SAME_BYTES: dict[str, tuple[Any, str]] = {
    "a merchant": (
        merchant_record(),
        f'["MerchantRecord","m-1","Zo\\u00eb","PSP_42",null,"ACTIVE",{NOON},{NOON},2,3]',
    ),
    "a slot": (
        slot_record(),
        f'["SlotRecord","m-1","api-password","INACTIVE",2,null,"HEX_UPPER_32","0f",false,"1f",{NOON},null,{NOON},3,3]',
    ),
    "tokens": (
        token_set(),
        f'["TokenSetRecord","m-1",[["t-1","00ff",1,"0f",{NOON},null],["t-2","ff00",2,"f0",{NOON},{NEXT_DAY}]],4,3]',
    ),
    "a principal of schema 0001": (principal_record(), f"[{PRINCIPAL}]"),
}


@pytest.mark.parametrize(("record", "expected"), SAME_BYTES.values(), ids=SAME_BYTES)
def test_other_records_mean_the_same_bytes_in_every_release(record: Any, expected: str) -> None:
    assert expected.encode() == meaning(record)


def test_no_later_field_is_left_out_here() -> None:
    with_defaults = [f.name for f in fields(PrincipalRecord) if f.default is not MISSING]
    assert with_defaults == ["mac", "mac_generation", *LATER]
    for record_type in RECORDS:
        if record_type is not PrincipalRecord:
            _, later = LATER_ELSEWHERE.get(record_type, (None, {}))
            with_defaults = [f.name for f in fields(record_type) if f.default is not MISSING]
            assert with_defaults == ["mac", "mac_generation", *later]


@pytest.mark.parametrize("name", LATER)
def test_a_later_field_stands_by_its_name_at_the_end(name: str) -> None:
    value, text = LATER[name]
    expected = f'[{PRINCIPAL},{{"{name}":{text}}}]'
    assert expected.encode() == meaning(principal_record(**{name: value}))


@pytest.mark.parametrize("record_type", LATER_ELSEWHERE)
def test_what_was_written_before_schema_0003_keeps_its_bytes_and_a_field_of_it_adds_to_them(
    record_type: type[Any],
) -> None:
    record, later = LATER_ELSEWHERE[record_type]
    before = meaning(record)
    assert before.endswith(b",3]")
    for name, (value, text) in later.items():
        assert before[:-1] + f',{{"{name}":{text}}}]'.encode() == meaning(replace(record, **{name: value}))
        assert before == meaning(replace(record, **{name: None}))


def test_all_later_fields_stand_in_their_order() -> None:
    changes = {name: value for name, (value, _) in LATER.items()}
    listed = ",".join(f'"{name}":{text}' for name, (_, text) in LATER.items())
    assert f"[{PRINCIPAL},{{{listed}}}]".encode() == meaning(principal_record(**changes))


def test_a_later_field_set_back_to_its_default_means_what_it_did_before() -> None:
    assert meaning(principal_record()) == meaning(principal_record(can_sign=False, merchants=(), spiffe_id=None))


@given(st.data(), st.sampled_from(sorted(LATER)))
def test_any_value_of_a_later_field_has_bytes_of_its_own(data: st.DataObject, name: str) -> None:
    strategy = covered(PrincipalRecord)[name]
    one, other = data.draw(strategy), data.draw(strategy)
    before, after = principal_record(**{name: one}), principal_record(**{name: other})
    assert (one == other) is (meaning(before) == meaning(after))


def test_an_item_moved_from_one_list_to_another_counts() -> None:
    assert meaning(principal_record(merchants=("m-1",))) != meaning(principal_record(jwt_public_keys=("m-1",)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("m-1", "m-2"), ("m-2", "m-1")),
        (("m-1,m-2",), ("m-1", "m-2")),
        (("",), ()),
        (('m-1","m-2',), ("m-1", "m-2")),
    ],
)
def test_a_list_has_one_reading(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert meaning(principal_record(merchants=one)) != meaning(principal_record(merchants=other))


@given(st.data())
def test_any_change_of_a_token_changes_the_bytes_of_its_set(data: st.DataObject) -> None:
    hints = typing.get_type_hints(MerchantToken)
    name = data.draw(st.sampled_from(sorted(hints)))
    first, second = token_set().tokens
    changed = replace(second, **{name: data.draw(values(hints[name]))})
    written = replace(token_set(), tokens=(first, changed))
    assert (changed == second) is (meaning(written) == meaning(token_set()))


def test_the_order_and_the_number_of_tokens_count() -> None:
    first, second = token_set().tokens
    others = [(second, first), (first,), (), (first, second, second)]
    assert len(others) + 1 == len(
        {meaning(replace(token_set(), tokens=tokens)) for tokens in [(first, second), *others]}
    )


def test_a_time_within_a_list_means_the_same_in_any_zone() -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=-8)))
    passwords = [(RetiringPassword("00ff", 1, time),) for time in (START, elsewhere)]
    assert 1 == len({meaning(principal_record(retiring_passwords=retiring)) for retiring in passwords})


def test_a_token_lives_until_its_time_and_not_at_it() -> None:
    for_ever, ending = token_set().tokens
    end = START + timedelta(days=1)
    assert [True, False] == [ending.live(end - timedelta(microseconds=1)), ending.live(end)]
    assert for_ever.live(datetime.max.replace(tzinfo=UTC))
