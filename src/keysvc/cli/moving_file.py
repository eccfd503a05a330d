"""Reading the files that merchants move in with: CSV with a header, or JSON lines. docs/import.md has the format.

Read a line at a time, and never kept. What is wrong with a line is told by the names of its fields: nothing that
stands in it is quoted, since a secret may stand in the wrong column.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any, BinaryIO, TypeVar

from keysvc.model.errors import InvalidField, Misconfigured
from keysvc.model.moving import About, Entry, Outcome, refused
from keysvc.model.names import check_id
from keysvc.model.records import MerchantState
from keysvc.model.slots import HmacAlgorithm, SecretFormat, Slot

FIELDS = (
    "merchant_id", "display_name", "psp", "acquirer", "state", "slot", "secret", "sealed_secret", "secret_format",
    "hmac_algorithm", "rotate_before", "allow_weak_key",
)  # fmt: skip
MAX_LINE = 64 * 1024
_OF_SECRETS = FIELDS[6:]
_PRINCIPALS = "principals/"
_TRUTHS = {"true": True, "false": False}

Line = Entry | Outcome
Fields = dict[str, str]
"""Those that are not empty, by name."""
E = TypeVar("E", bound=StrEnum)


class MovingFile:
    """The lines of one file: an entry each, or a refusal where not even its merchant can be read."""

    def __init__(self, file: BinaryIO, require_private: Callable[[int], None]) -> None:
        """`require_private` is told the first line that holds a secret in plain, before the secret is used."""
        self._file = file
        self._require_private = require_private

    def __iter__(self) -> Iterator[Line]:
        """Raises Misconfigured where the header is none or nothing is there, and what `require_private` raises."""
        read: Callable[[str], Fields] | None = None
        for number, text in _texts(self._file):
            if read is None:
                read = _json_fields
                if text is None or not text.startswith("{"):
                    read = _csv_reader(number, text)
                    continue
            yield self._line(number, text, read)
        if read is None:
            raise Misconfigured("Nothing moves in: there is no line in what was to be read, not even a header")

    def _line(self, number: int, text: str | None, read: Callable[[str], Fields]) -> Line:
        merchant_id = ""
        try:
            fields = read(_whole(text))
            if "secret" in fields:
                self._require_private(number)
            merchant_id = check_id(fields.get("merchant_id", ""), "merchant_id")
            return _entry(number, merchant_id, _about(fields), fields)
        except InvalidField as error:
            return refused(number, merchant_id, None, error)


def _texts(file: BinaryIO) -> Iterator[tuple[int, str | None]]:
    """Lines that are not blank, without their ends; None for one that is too long, or no UTF-8."""
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        whole = len(line) < MAX_LINE or line.endswith(b"\n")
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE)
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n") if whole else None
        except UnicodeDecodeError:
            text = None
        if text is None or text.strip():
            yield number, text


def _whole(text: str | None) -> str:
    if text is None:
        raise InvalidField("line", f"is longer than {MAX_LINE:,} bytes, or no UTF-8")
    return text


def _csv_reader(number: int, header: str | None) -> Callable[[str], Fields]:
    """Raises Misconfigured. Does not quote: where the header is missing, this is a line with a secret."""
    delimiter = ";" if ";" in (header or "") else ","
    try:
        names = [name.strip() for name in _cells(_whole(header), delimiter)]
    except InvalidField:
        names = []
    wrong = next((at for at, name in enumerate(names, 1) if name not in FIELDS or name in names[: at - 1]), None)
    if wrong is not None or "merchant_id" not in names:
        which = f"its column {wrong} is unknown, or there twice" if wrong else "it has no column merchant_id"
        raise Misconfigured(f"Line {number} is no header, and no JSON: {which}. The columns are {', '.join(FIELDS)}")

    def read(text: str) -> Fields:
        cells = _cells(text, delimiter)
        if len(cells) != len(names):
            raise InvalidField("line", f"has {len(cells)} fields, and the header {len(names)}")
        return {name: cell for name, cell in zip(names, cells, strict=True) if cell}

    return read


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error:
        raise InvalidField("line", "is no CSV (RFC 4180): see to its quotes; a field holds no line break") from None


def _json_fields(text: str) -> Fields:
    try:
        pairs = json.loads(text, object_pairs_hook=lambda pairs: pairs)
    except (ValueError, RecursionError):
        raise InvalidField("line", "is no JSON object") from None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise InvalidField("line", "is no JSON object")
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or not set(names) <= set(FIELDS):
        raise InvalidField("line", f"has a field twice, or one that is none of {', '.join(FIELDS)}")
    return {name: text for name, value in pairs if (text := _json_text(name, value))}


def _json_text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "allow_weak_key" and isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        raise InvalidField(name, "must be a string")
    return value


def _about(fields: Fields) -> About:
    return About(
        fields.get("display_name"),
        _principal(fields, "psp"),
        _principal(fields, "acquirer"),
        _word(fields, "state", MerchantState),
    )


def _entry(number: int, merchant_id: str, about: About, fields: Fields) -> Entry:
    """Its merchant is known: what is wrong with the rest stands in it."""
    slot = None
    try:
        slot = _word(fields, "slot", Slot)
        if slot is None:
            given = next((name for name in _OF_SECRETS if name in fields), None)
            if given is not None:
                raise InvalidField("slot", f"is absent, and {given} is not")
            return Entry(number, merchant_id, about)
        return Entry(
            number, merchant_id, about, slot, _secret(fields),
            algorithm=_word(fields, "hmac_algorithm", HmacAlgorithm),
            secret_format=_word(fields, "secret_format", SecretFormat),
            rotate_before=_time(fields, "rotate_before"),
            allow_weak=_truth(fields, "allow_weak_key"),
        )  # fmt: skip
    except InvalidField as error:
        return Entry(number, merchant_id, about, slot, fault=error)


def _secret(fields: Fields) -> str | bytes:
    if ("secret" in fields) == ("sealed_secret" in fields):
        raise InvalidField("secret", "or sealed_secret must be there, one of them")
    if "secret" in fields:
        return fields["secret"]
    try:
        return base64.b64decode(fields["sealed_secret"].encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        raise InvalidField("sealed_secret", "is not base64 with its padding (RFC 4648 section 4)") from None


def _principal(fields: Fields, name: str) -> str | None:
    if name not in fields:
        return None
    return check_id(fields[name].removeprefix(_PRINCIPALS), name)


def _word(fields: Fields, name: str, words: type[E]) -> E | None:
    if name not in fields:
        return None
    try:
        return words(fields[name])
    except ValueError:
        raise InvalidField(name, f"is none of {', '.join(words)}") from None


def _truth(fields: Fields, name: str) -> bool:
    try:
        return _TRUTHS[fields.get(name, "false").lower()]
    except KeyError:
        raise InvalidField(name, "is neither true nor false") from None


def _time(fields: Fields, name: str) -> datetime | None:
    """A date is its first moment."""
    if name not in fields:
        return None
    try:
        return datetime.combine(date.fromisoformat(fields[name]), time(), UTC)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(fields[name])
        if found.tzinfo is None:
            raise ValueError
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidField(name, "is no date such as 2027-01-31, nor a time such as 2027-01-31T12:00:00Z") from None
