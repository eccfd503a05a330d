"""Requests that hypothesis makes of the contract's descriptors.

Likely ones, with fields that are extreme, odd or unset; and some whose bytes were changed after that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.internal.encoder import TagBytes
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from endurance.contract import Rpc
from endurance.likely import Likely
from endurance.planted import is_map
from endurance.weights import mostly

_INT32, _INT64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
_LENGTHS = (65, 257, 4_097, 16_385, 70_000)
_HUGE = (1_100_000, 4_194_305)
_SCALARS: dict[int, SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: st.sampled_from((*_INT32, -1, 1001)) | st.integers(*_INT32),
    FieldDescriptor.TYPE_INT64: st.sampled_from((*_INT64, -1, 253402300800)) | st.integers(*_INT64),
    FieldDescriptor.TYPE_ENUM: st.sampled_from((*_INT32, -1, 0, 6, 7, 99)) | st.integers(0, 8),
}
_ODD_TEXTS = st.sampled_from(
    (
        "", " ", "/", "\0", "..", "merchants", "merchants/", "merchants/-", "merchants//credentials/x", "principals/-",
        "merchants/own-zzzz\n", "merchants/own-zzzz/../oth-zzzz", "Merchants/own-zzzz", "merchants/own-zzzz%2f",
        "merchants/own-zzzz/credentials/primary-hmac-key/", "merchants/own-zzzz/tokens/", "'; DROP TABLE merchant; --",
        "%s%n{0}${x}", "\u202egnirts", "\U0001f511" * 20, "e\u0301", "\ufeffmerchants/own-zzzz", "\x1b[31m", "-1",
        "9" * 30,
    )
)  # fmt: skip
_ODD_STRINGS = (
    _ODD_TEXTS
    | st.text(max_size=30)
    | st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=1), st.sampled_from(_LENGTHS))
)
_ODD_BYTES = (
    st.binary(max_size=80)
    | st.builds(lambda value, times: value * times, st.binary(min_size=1, max_size=1), st.sampled_from(_LENGTHS))
)  # fmt: skip
_MOSTLY_SET = frozenset(
    {
        "name",
        "parent",
        "merchant_id",
        "principal_id",
        "principal",
        "update_mask",
        "mac",
        "api_key",
        "ciphertext",
        "secret",
        "scheme",
        "kind",
        "requests",
    }
)
"""Fields without which a call is refused before anything else is looked at."""
_SELDOM = 60
"""Of so many values one is huge: those are slow to make, to send and to read."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request's bytes, most often a message. Not shown: hypothesis would show megabytes."""

    raw: bytes = field(repr=False)


def requests(rpc: Rpc, likely: Likely) -> SearchStrategy[Sent]:
    message = GetMessageClass(rpc.method.input_type)
    fields = rpc.method.input_type.fields
    named = {field.name: _values(field, rpc, likely) for field in fields if field.name in _MOSTLY_SET}
    others = {field.name: _values(field, rpc, likely) for field in fields if field.name not in named}
    made = st.fixed_dictionaries(named, optional=others).map(lambda values: message(**values).SerializeToString())
    broken = mostly(made.flatmap(_mutated), st.binary(max_size=60), 4)
    return mostly(made, broken, 6).map(Sent)


def _values(field: FieldDescriptor, rpc: Rpc, likely: Likely) -> SearchStrategy[Any]:
    if is_map(field):
        return _maps(field, rpc, likely)
    one = _one(field, rpc, likely)
    if not field.is_repeated:
        return one
    many = st.builds(lambda value, times: [value] * times, one, st.sampled_from((6, 1_001)))
    return mostly(st.lists(one, max_size=4), many, 20)


def _maps(field: FieldDescriptor, rpc: Rpc, likely: Likely) -> SearchStrategy[Any]:
    """Likely ones as they are, or with some entries of their own; names and values that are odd beside them."""
    known = likely.values(rpc, field)
    assert known is not None, f"no values are known for the map {field.full_name}"
    odd = st.dictionaries(_ODD_STRINGS, _ODD_STRINGS, max_size=3)
    return mostly(known, st.builds(lambda more, some: {**some, **more}, odd, known), 6)


def _one(field: FieldDescriptor, rpc: Rpc, likely: Likely) -> SearchStrategy[Any]:
    known = likely.values(rpc, field)
    if field.message_type is not None:
        nested = {inner.name: _values(inner, rpc, likely) for inner in field.message_type.fields}
        made: SearchStrategy[Any] = st.fixed_dictionaries({}, optional=nested)
        return made if known is None else mostly(known, made, 5)
    odd = _odd(field)
    return odd if known is None else mostly(known, odd, 10)


def _odd(field: FieldDescriptor) -> SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_STRING:
        return _now_and_then(_ODD_STRINGS, "x")
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _now_and_then(_ODD_BYTES, b"\xfe")
    return _SCALARS[field.type]


def _now_and_then(usual: SearchStrategy[Any], unit: str | bytes) -> SearchStrategy[Any]:
    return mostly(usual, st.sampled_from(_HUGE).map(lambda length: unit * length), _SELDOM)


def _mutated(raw: bytes) -> SearchStrategy[bytes]:
    """The bytes with some changed, lost, repeated or added."""
    place = st.integers(0, len(raw))

    def flip(at: int, by: int) -> bytes:
        return raw[:at] + bytes([raw[at] ^ by]) + raw[at + 1 :] if at < len(raw) else raw + bytes([by])

    unknown = st.builds(
        lambda number, kind, value: raw + TagBytes(number, kind) + value,
        st.integers(1, 2**29 - 1), st.integers(0, 5), st.binary(max_size=20),
    )  # fmt: skip
    return st.one_of(
        st.builds(flip, place, st.integers(1, 255)),
        place.map(lambda at: raw[:at]),
        place.map(lambda at: raw[at:]),
        st.builds(lambda at, more: raw[:at] + more + raw[at:], place, st.binary(min_size=1, max_size=12)),
        st.just(raw + raw),
        unknown,
    )
