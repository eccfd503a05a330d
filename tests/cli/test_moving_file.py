"""Reading files that merchants move in with: both forms say the same, and what is wrong is told without quoting it."""

from __future__ import annotations

import base64
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keysvc.cli.moving_file import FIELDS, MAX_LINE, Line, MovingFile
from keysvc.model.errors import Misconfigured
from keysvc.model.moving import About, Entry, Outcome
from keysvc.model.records import MerchantState
from keysvc.model.slots import HmacAlgorithm, SecretFormat, Slot
from keysvc.service import inventory

SECRET = "f00dcafe" * 8
HEADER = (
    "merchant_id,display_name,psp,acquirer,state,slot,secret,secret_format,hmac_algorithm,rotate_before,allow_weak_key"
)
FULL = {
    "merchant_id": "shop-1", "display_name": 'Smith, "Jones" & Söhne', "psp": "principals/PSP_42", "acquirer": "ACQ_1",
    "state": "SUSPENDED", "slot": "primary-hmac-key", "secret": SECRET, "secret_format": "HEX",
    "hmac_algorithm": "HMAC_SHA512", "rotate_before": "2027-01-31T12:00:00+01:00", "allow_weak_key": "TRUE",
}  # fmt: skip
ENTRY = Entry(
    line=2, merchant_id="shop-1",
    about=About('Smith, "Jones" & Söhne', "PSP_42", "ACQ_1", MerchantState.SUSPENDED),
    slot=Slot.PRIMARY_HMAC_KEY, secret=SECRET, algorithm=HmacAlgorithm.HMAC_SHA512, secret_format=SecretFormat.HEX,
    rotate_before=datetime(2027, 1, 31, 11, tzinfo=UTC), allow_weak=True,
)  # fmt: skip


def read(data: bytes | str) -> list[Line]:
    raw = data.encode() if isinstance(data, str) else data
    return list(MovingFile(io.BytesIO(raw), lambda _line: None))


def csv_line(delimiter: str = ",") -> str:
    return delimiter.join('"' + value.replace('"', '""') + '"' for value in FULL.values())


@pytest.mark.parametrize(
    "data",
    [
        f"{HEADER}\n{csv_line()}\n",
        f"\ufeff{HEADER}\r\n{csv_line()}",
        f"{HEADER.replace(',', ';')}\n{csv_line(';')}\n\n",
        f"\n{json.dumps(FULL)}\n",
        "\n" + json.dumps(FULL | {"allow_weak_key": True, "sealed_secret": None}, ensure_ascii=False),
    ],
    ids=["csv", "as a spreadsheet writes it", "semicolons", "json", "json with its own types"],
)
def test_every_form_says_the_same(data: str) -> None:
    assert [ENTRY] == read(data)
    assert SECRET not in repr(read(data))


def test_a_merchant_without_a_secret_is_a_line_too_and_a_sealed_one_is_bytes() -> None:
    sealed = base64.b64encode(b"\x00sealed").decode()
    alone, with_key = read(f"merchant_id,slot,sealed_secret,rotate_before\na,,,\nb,api-password,{sealed},2027-01-31\n")
    assert Entry(2, "a", About()) == alone
    assert isinstance(with_key, Entry)
    assert (b"\x00sealed", datetime(2027, 1, 31, tzinfo=UTC)) == (with_key.secret, with_key.rotate_before)


def fault(fields: dict[str, Any]) -> str:
    """What is told of one line of JSON."""
    (line,) = read(json.dumps({"merchant_id": "m", "slot": "primary-hmac-key"} | fields))
    assert isinstance(line, Outcome) or line.fault is not None
    message = line.message if isinstance(line, Outcome) else line.fault.message if line.fault else ""
    assert SECRET not in message
    return message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"merchant_id": "a b"}, "merchant_id: must be 1-64 of A-Z a-z 0-9 _ -"),
        ({"merchant_id": None}, "merchant_id: must be 1-64"),
        ({"merchant_id": 7}, "merchant_id: must be a string"),
        ({"psp": SECRET + "!"}, "psp: must be 1-64"),
        ({"state": SECRET}, "state: is none of WAITING_ACTIVATION, ACTIVE, SUSPENDED, TERMINATED"),
        ({"slot": SECRET}, "slot: is none of encryption-password, "),
        ({"slot": "", "secret": SECRET}, "slot: is absent, and secret is not"),
        ({}, "secret: or sealed_secret must be there"),
        ({"secret": SECRET, "sealed_secret": "AAAA"}, "secret: or sealed_secret must be there"),
        ({"sealed_secret": SECRET + "!"}, "sealed_secret: is not base64"),
        ({"secret": SECRET, "secret_format": SECRET}, "secret_format: is none of HEX, "),
        ({"secret": SECRET, "hmac_algorithm": "MD5"}, "hmac_algorithm: is none of HMAC_SHA256, "),
        ({"secret": SECRET, "rotate_before": "31.1.2027"}, "rotate_before: is no date such as 2027-01-31"),
        ({"secret": SECRET, "rotate_before": "2027-01-31T12:00:00"}, "rotate_before: is no date"),
        ({"secret": SECRET, "allow_weak_key": "yes"}, "allow_weak_key: is neither true nor false"),
        ({SECRET: "x"}, "line: has a field twice, or one that is none of merchant_id, "),
    ],
)
def test_what_is_wrong_with_a_line_is_told_by_its_field(fields: dict[str, Any], message: str) -> None:
    assert fault(fields).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f'm,"{SECRET}'.encode(), "line: is no CSV"),
        (f"m,{SECRET},x".encode(), "line: has 3 fields, and the header 2"),
        (b"m,\xff" + SECRET.encode(), "line: is longer than 65,536 bytes, or no UTF-8"),
        (b"m," + b"x" * 3 * MAX_LINE, "line: is longer than 65,536 bytes, or no UTF-8"),
    ],
)
def test_a_line_that_cannot_be_read_takes_no_other_with_it(line: bytes, message: str) -> None:
    first, wrong, last = read(b"merchant_id,display_name\na,A\n" + line + b"\nb,B\n")
    assert [Entry(2, "a", About("A")), Entry(4, "b", About("B"))] == [first, last]
    assert isinstance(wrong, Outcome)
    assert wrong.message.startswith(message)
    assert (3, "", "INVALID_FIELD") == (wrong.line, wrong.merchant_id, wrong.reason)


def test_a_line_that_is_no_json_takes_no_other_with_it() -> None:
    good = '{"merchant_id": "a"}'
    lines = read(
        "\n".join(
            [good, f'{{"secret": "{SECRET}"', '["a"]', "[" * 5000, '{"merchant_id": "a", "merchant_id": "b"}', good]
        )
    )
    assert ["Entry", *["Outcome"] * 4, "Entry"] == [type(line).__name__ for line in lines]
    assert SECRET not in repr(lines)


@pytest.mark.parametrize("data", ["", "\n\r\n \n"], ids=["no byte", "blank lines"])
def test_nothing_at_all_is_told_since_a_pipe_may_have_failed(data: str) -> None:
    with pytest.raises(Misconfigured, match="Nothing moves in"):
        read(data)


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (f"shop-1,{SECRET}", "its column 1 is unknown"),
        (f"merchant_id,{SECRET}", "its column 2 is unknown, or there twice"),
        ("merchant_id,slot,slot", "its column 3 is unknown, or there twice"),
        ("slot,secret", "it has no column merchant_id"),
        ('"', "it has no column merchant_id"),
    ],
)
def test_a_first_line_that_is_no_header_is_not_quoted(header: str, what: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        read(f"{header}\nm,x\n")
    assert refused.value.message.startswith(f"Line 1 is no header, and no JSON: {what}")
    assert SECRET not in refused.value.message


@pytest.mark.parametrize(
    "data",
    [
        f"merchant_id,slot,secret\na,,\nb,api-password,{SECRET}\n",
        f'\n{{"merchant_id": "a"}}\n{{"secret": "{SECRET}"}}\n',
    ],
)
def test_a_secret_in_plain_is_told_of_before_it_is_used(data: str) -> None:
    told: list[int] = []
    list(MovingFile(io.BytesIO(data.encode()), told.append))
    assert [3] == told


_values = st.one_of(st.text(max_size=20), st.none(), st.booleans(), st.integers())
_objects = st.dictionaries(st.sampled_from(FIELDS), _values, max_size=6).map(lambda found: json.dumps(found).encode())
_csv_lines = st.lists(st.text(max_size=8), min_size=1, max_size=4).map(
    lambda cells: ",".join(cells).encode(errors="replace")
)


@given(
    st.sampled_from([b"{}", HEADER.encode(), b"merchant_id,slot"]),
    st.lists(_objects | _csv_lines | st.binary(max_size=40)),
)
def test_any_line_becomes_an_entry_or_a_refusal(first: bytes, lines: list[bytes]) -> None:
    read(b"\n".join([first, *lines]))


def test_the_document_names_every_field() -> None:
    document = (Path(__file__).parents[2] / "docs/import.md").read_text()
    table = document.split("| field | what |")[1].split("\n\n")[0]
    named = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split(" | ")[0])]
    assert sorted(FIELDS) == sorted(named)
    assert set(inventory.COLUMNS) <= set(re.findall(r"`(\w+)`", document.split("## The export")[1]))
