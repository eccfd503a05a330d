"""Makes a home on PostgreSQL with very many merchants, all like one: `python -m bench.multiply HOME URL CALLERS START
STOP STEP`, while no server runs.

Each has five filled slots, and each row a MAC of its own by the token, so keysvc takes every one of them for its own.
The keys are the same ones in all: nothing binds a wrapped key to its merchant but the row's MAC, so every merchant may
be called, and its right MACs are known. (A bearer secret's digest names its merchant, and so opens nothing here.)

Rows are written as COPY takes them, from patterns of a merchant's, and neither foreign keys nor the triggers that count
the epoch look at them: an import by keysvc, at a thousand secrets a second, takes an hour and a half.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Table

from bench.cores import Cores
from bench.known_keys import new_key, write_key
from bench.questions import merchant_id
from bench.servers import program
from keysvc.cli import development, wiring
from keysvc.cli.assembly import Core
from keysvc.cli.first_admin import ensure_admin
from keysvc.cli.settings import read_settings
from keysvc.cli.wiring import now
from keysvc.model.audit import AuditRecord, ChainedEvent, ChainEnd
from keysvc.model.hsm_keys import Purpose
from keysvc.model.names import CredentialName, merchant_name
from keysvc.model.principals import ALL_MERCHANTS, PrincipalKind, PrincipalRecord, PrincipalState
from keysvc.model.records import KeyRecord, MerchantRecord, MerchantState, SlotRecord, SlotState, meaning
from keysvc.model.secrets import SecretText
from keysvc.model.slots import RULES, Kind, Slot
from keysvc.service.calls import itself
from keysvc.service.material import Maker, recipe
from keysvc.service.principals import Passwords
from keysvc.service.slot_edit import SlotEdit
from keysvc.store import schema
from keysvc.store.audit_log import EVENT, TAIL
from keysvc.store.engine import open_engine
from keysvc.store.queries import KEY, MERCHANT, SLOT
from keysvc.store.rows import to_row

SLOTS = (
    Slot.PRIMARY_HMAC_KEY, Slot.SECONDARY_HMAC_KEY, Slot.PRIMARY_REST_API_KEY, Slot.SECONDARY_REST_API_KEY,
    Slot.API_PASSWORD,
)  # fmt: skip
DATED = Slot.API_PASSWORD
"""The slot that has a date, another one in each merchant."""
PASSWORD = "0123456789ABCDEF" * 2
"""Every caller's."""
PSPS = 500
A_PSP = "psp-007"
"""One of so many, each with about as many merchants, spread over all."""
_DUE_FROM, _DUE_DAYS = timedelta(days=-30), 400
_AT_ONCE = 1000
_ID, _PSP, _DUE = "<merchant>", "<psp>", datetime(2000, 1, 1, tzinfo=UTC)
"""In the place of what differs from merchant to merchant."""

Values = dict[bytes, bytes]


def multiply(home: Path, url: str, numbers: range, callers: int, cores: Cores, done: Callable[[int], None]) -> None:
    """Blocks until the merchants are there. `done` is told how many more are."""
    asked = [str(home), url, *map(str, (callers, numbers.start, numbers.stop, numbers.step))]
    with program(cores, "bench.multiply", *asked) as process:
        assert process.stdout is not None
        for line in process.stdout:
            done(int(line))
        if process.wait() != 0:
            raise RuntimeError("the merchants could not be made: see above")


def caller_id(number: int) -> str:
    return f"caller-{number:05d}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One row of every merchant: what its MAC covers, and its line without the MAC."""

    table: Table
    columns: tuple[str, ...]
    meaning: bytes
    line: bytes

    @classmethod
    def of(cls, table: Table, record: Any) -> Pattern:
        row = to_row(record) | ({"slot_state": SlotState.ACTIVE} if table is KEY else {})
        del row["mac"]
        return cls(table, (*row, "mac"), _pattern(meaning(record)), _pattern(_line(row.values())))


class Added:
    """Stands where a change does, and keeps what is added."""

    def __init__(self) -> None:
        self.patterns: list[Pattern] = []

    def add_slot(self, record: SlotRecord) -> None:
        self.patterns.append(Pattern.of(SLOT, record))

    def add_key(self, record: KeyRecord) -> None:
        self.patterns.append(Pattern.of(KEY, record))


def _patterns(core: Core, key: bytes) -> list[Pattern]:
    time = now()
    merchant = core.sealer.seal(
        MerchantRecord(
            merchant_id=_ID, display_name=f"Merchant {_ID}", psp=_PSP, acquirer="acquirer", state=MerchantState.ACTIVE,
            create_time=time, update_time=time, revision=1,
        )
    )  # fmt: skip
    added: Any = Added()
    maker = Maker(core.token, core.digester)
    for slot in SLOTS:
        name = CredentialName(_ID, slot)
        wanted = recipe(name, None, None)
        is_hmac = RULES[slot].kind is Kind.HMAC_KEY
        fresh = maker.adopt(name, wanted, key.hex(), allow_weak=False) if is_hmac else maker.make(name, wanted, None)
        SlotEdit(added, core.sealer, name, merchant, None, []).fill(fresh, time, _DUE if slot is DATED else None)
    return [Pattern.of(MERCHANT, merchant), *added.patterns]


def _line(values: Sequence[Any] | Any) -> bytes:
    return "\t".join(map(_text, values)).encode()


def _text(value: Any) -> str:
    """As COPY reads it."""
    if value is None:
        return r"\N"
    if isinstance(value, bytes):
        return rf"\\x{value.hex()}"
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else str(value)


def _pattern(text: bytes) -> bytes:
    text = text.replace(b"%", b"%%").replace(_ID.encode(), b"%(merchant)b").replace(_PSP.encode(), b"%(psp)b")
    return text.replace(_text(_DUE).encode(), b"%(due)b")


def _values(number: int, start: datetime) -> Values:
    due = start + timedelta(minutes=number * 7919 % (_DUE_DAYS * 24 * 60))
    return {
        b"merchant": merchant_id(number).encode(),
        b"psp": f"psp-{number * 7919 // 1000 % PSPS:03d}".encode(),
        b"due": _text(due).encode(),
    }


class Writer:
    """Of one transaction."""

    def __init__(self, core: Core, connection: psycopg.Connection[Any], patterns: list[Pattern]) -> None:
        self._token = core.token
        self._cursor = connection.cursor()
        self._patterns = patterns
        self._end = core.store.audit_end()
        self._begin = now()

    def write(self, numbers: Sequence[int]) -> None:
        start = self._begin + _DUE_FROM
        values = [_values(number, start) for number in numbers]
        for pattern in self._patterns:
            self._copy(pattern.table, pattern.columns, self._lines(pattern, values))
        events = list(self._events(numbers))
        self._copy(EVENT, tuple(events[0]), [_line(event.values()) + b"\n" for event in events])

    def end(self) -> None:
        self._cursor.execute(f"UPDATE {TAIL.name} SET sequence = %s, hash = %s", (self._end.sequence, self._end.hash))

    def _lines(self, pattern: Pattern, values: list[Values]) -> Iterator[bytes]:
        generation = self._token.newest(Purpose.ROW)
        covered = [pattern.meaning % each for each in values]
        macs = self._token.keyed_digests(Purpose.ROW, generation, covered)
        for each, mac in zip(values, macs, strict=True):
            yield pattern.line % each + b"\t\\\\x" + mac.hex().encode() + b"\n"

    def _events(self, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
        event = AuditRecord(
            time=self._begin, principal=itself("import").name, method="", resource="", version=0, outcome="OK",
            reason="", request_id="", peer="",
        )  # fmt: skip
        for number in numbers:
            chained = ChainedEvent.after(self._end, replace(event, resource=merchant_name(merchant_id(number))))
            self._end = ChainEnd(chained.sequence, chained.hash)
            hashes = {"previous_hash": chained.previous_hash, "hash": chained.hash}
            yield {"sequence": chained.sequence} | hashes | to_row(chained.event)

    def _copy(self, table: Table, columns: Sequence[str], lines: Iterator[bytes] | list[bytes]) -> None:
        with self._cursor.copy(f"COPY {table.name} ({', '.join(columns)}) FROM STDIN") as copy:
            copy.write(b"".join(lines))


def _write_merchants(core: Core, url: str, home: Path, numbers: range) -> None:
    key = new_key()
    write_key(home, key)
    left = iter(numbers)
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        writer = Writer(core, connection, _patterns(core, key))
        while batch := list(islice(left, _AT_ONCE)):
            writer.write(batch)
            print(len(batch), flush=True)
        writer.end()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def _add_callers(core: Core, count: int) -> None:
    """SERVICEs that may ask about every merchant, and one PSP."""
    passwords = Passwords(core.token, core.digester)
    everyone = [(caller_id(number), PrincipalKind.SERVICE, (ALL_MERCHANTS,)) for number in range(count)]
    for principal_id, kind, merchants in [(A_PSP, PrincipalKind.PSP, ()), *everyone]:
        record = PrincipalRecord(
            principal_id=principal_id, kind=kind, merchants=merchants, state=PrincipalState.ACTIVE, create_time=now(),
            revision=1, **passwords.digest(principal_id, SecretText(PASSWORD)),
        )  # fmt: skip
        with core.store.change() as change:
            change.add_principal(core.sealer.seal(record))


def main(home: Path, url: str, callers: int, numbers: range) -> None:
    os.environ["KEYSVC_HOME"], os.environ["KEYSVC_DATABASE_URL"] = str(home), url
    settings, module = development.provision(read_settings())
    config = wiring.token_config(settings)
    schema.upgrade(open_engine(url))
    wiring.make_token_keys(module, config, config.pin)
    with wiring.opened(settings, module, config) as core:
        ensure_admin(wiring.initialised(core), home / "admin-credentials")
        _write_merchants(core, url, home, numbers)
        _add_callers(core, callers)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), range(*map(int, sys.argv[4:7])))
