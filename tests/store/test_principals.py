"""Principals: every field comes back, by id, by SPIFFE id and in pages; and what keysvc never writes is not read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, timedelta
from typing import Any

import pytest
from support.databases import Database

from keysvc.model.errors import Integrity
from keysvc.model.principals import MAX_MERCHANTS, PrincipalKind, PrincipalRecord, PrincipalState, RetiringPassword
from keysvc.store.store import Store
from store.records import NOON, a_full_principal, a_principal

SPIFFE_ID = "spiffe://example.org/billing"
ALTERED = "A stored row holds what keysvc never writes, and is not used"
LATER: dict[str, Any] = {
    "merchants": ("-",),
    "can_edit_credentials": True,
    "remote_access": True,
    "can_sign": True,
    "spiffe_id": SPIFFE_ID,
    "jwt_public_keys": ("-----BEGIN PUBLIC KEY-----\n",),
    "update_time": NOON,
    "password_time": NOON,
    "retiring_passwords": (RetiringPassword("00" * 32, 3, NOON),),
}
"""Each field that schema 0002 added, with a value that is not its default."""

NO_TEXTS = [
    "",
    "garbage",
    "{",
    "null",
    "5",
    '"m"',
    "{}",
    "[1]",
    "[null]",
    '[["m"]]',
    '["m"',
    "[" * 100_000,
    '["\\ud800"]',
]
PASSWORD = '{"digest":"00ff","generation":1,"expire_time":"2026-03-29T12:00:00.123457Z"}'
NO_PASSWORDS = [
    *("", "garbage", "null", "{}", '["m"]', "[{}]", "[1]", PASSWORD, f"[{PASSWORD}", f"[[{PASSWORD}]]"),
    f"[{PASSWORD.replace('1,', 'null,')}]",
    f"[{PASSWORD.replace('1,', '1e400,')}]",
    f"[{PASSWORD.replace('2026-03-29T', 'noon ')}]",
    f"[{PASSWORD.replace('2026-', '20260-')}]",
]
MISLEADING = [
    ("no time zone", PASSWORD.replace("Z", "")),
    ("no time of day", PASSWORD.replace("T12:00:00.123457Z", "")),
    ("a time that is none in UTC", PASSWORD.replace("2026-03-29T12:00:00.123457Z", "0001-01-01T00:00:00+10:00")),
]
"""What can be read as a password, and breaks whoever compares its time: as aware times do with naive ones."""
NO_TIMES = ["'yesterday'", "5", "1.5", "x'00'", "'2026-13-01 00:00:00.000000'"]
"""SQLite keeps any value in any column."""


def _add(store: Store, *principals: PrincipalRecord) -> None:
    with store.change() as change:
        for principal in principals:
            change.add_principal(principal)


def test_no_later_field_is_left_out_here() -> None:
    later = [field.name for field in fields(PrincipalRecord) if field.name not in _first_fields()]
    assert later == list(LATER)


def test_every_field_comes_back(store: Store) -> None:
    _add(store, a_full_principal(), a_principal())
    assert [a_principal(), a_full_principal()] == store.principals(None, 10)
    assert (a_full_principal(), a_principal()) == (store.principal("billing"), store.principal("admin"))
    with store.change() as change:
        assert a_full_principal() == change.principal("billing")


@pytest.mark.parametrize("name", LATER)
def test_each_later_field_comes_back_by_itself(store: Store, name: str) -> None:
    written: PrincipalRecord = replace(a_principal(), **{name: LATER[name]})
    _add(store, written)
    assert written == store.principal("admin")


def test_each_later_field_is_put_and_taken_away_again(store: Store) -> None:
    _add(store, a_principal("untouched"), a_principal())
    for after in (a_full_principal("admin"), a_principal()):
        with store.change() as change:
            change.put_principal(after)
        assert [after, a_principal("untouched")] == store.principals(None, 10)


def test_the_longest_lists_come_back_in_their_order(store: Store) -> None:
    listed = tuple(f"{number:064}" for number in reversed(range(MAX_MERCHANTS)))
    keys = tuple("x" * 5_000 for _ in range(20))
    written = replace(a_full_principal(), merchants=listed, jwt_public_keys=keys)
    _add(store, written)
    assert written == store.principal("billing")


def test_a_retiring_password_keeps_its_time_to_the_microsecond(store: Store) -> None:
    _add(store, a_full_principal())
    found = store.principal("billing")
    assert found is not None
    assert [NOON + timedelta(microseconds=3), NOON + timedelta(days=1)] == [
        password.expire_time for password in found.retiring_passwords
    ]
    assert [timedelta(0)] * 2 == [
        password.expire_time.astimezone(UTC).utcoffset() for password in found.retiring_passwords
    ]


def test_a_principal_is_found_by_its_spiffe_id_alone(store: Store) -> None:
    _add(store, a_principal(), a_full_principal(), a_full_principal("other"))
    assert a_full_principal() == store.principal_of(SPIFFE_ID)
    for unknown in ("", SPIFFE_ID.upper(), f"{SPIFFE_ID}/", f"{SPIFFE_ID}%", "spiffe://example.org/_illing", "admin"):
        assert (unknown, None) == (unknown, store.principal_of(unknown))


def test_a_spiffe_id_that_was_taken_away_is_found_no_more(store: Store) -> None:
    _add(store, a_full_principal())
    with store.change() as change:
        change.put_principal(replace(a_full_principal(), spiffe_id=None))
        assert change.principal("billing") == replace(a_full_principal(), spiffe_id=None)
    assert store.principal_of(SPIFFE_ID) is None
    _add(store, replace(a_principal(), spiffe_id=SPIFFE_ID))


def test_one_spiffe_id_is_of_one_principal(store: Store, database: Database) -> None:
    """The service asks first; the database has the last word, and undoes the whole change."""
    _add(store, a_full_principal(), a_principal())
    twice = replace(a_principal("other"), spiffe_id=SPIFFE_ID)
    with pytest.raises(Integrity):
        _add(store, a_principal("new"), twice)
    with pytest.raises(Integrity), store.change() as change:
        change.put_principal(replace(a_principal(), spiffe_id=SPIFFE_ID))
    assert [a_principal(), a_full_principal()] == store.principals(None, 10)
    assert 2 == database.count("principal")


def test_any_number_of_principals_have_no_spiffe_id(store: Store) -> None:
    _add(store, *(a_principal(f"p-{number}") for number in range(20)))
    with store.change() as change:
        change.put_principal(replace(a_principal("p-3"), revision=2))
    assert 20 == len(store.principals(None, 100))


def test_pages_hold_every_principal_once_in_the_order_of_their_ids(store: Store) -> None:
    ids = ["-", "0", "10", "9", "A", "B", "PSP_42", "Z", "_", "a", "a-b", "a_b", "aa", "z", "x" * 64]
    _add(store, *(a_principal(principal_id) for principal_id in reversed(ids)))
    pages, after = [], None
    while page := store.principals(after, 4):
        pages.append([principal.principal_id for principal in page])
        after = pages[-1][-1]
    assert sorted(ids) == [principal_id for page in pages for principal_id in page]
    assert [4, 4, 4, 3] == [len(page) for page in pages]


def test_a_page_starts_after_an_id_that_is_there_no_more(store: Store) -> None:
    _add(store, a_principal("a"), a_principal("c"))
    assert [a_principal("c")] == store.principals("b", 10)


def test_active_administrators_are_counted_no_further_than_two(store: Store) -> None:
    found: list[int] = []
    for added in (
        replace(a_principal("former"), state=PrincipalState.DISABLED),
        replace(a_principal("auditor"), kind=PrincipalKind.AUDITOR),
        *(a_principal(f"admin-{number}") for number in range(3)),
    ):
        with store.change() as change:
            change.add_principal(added)
            found.append(len(change.active_admins()))
    assert [0, 0, 1, 2, 2] == found


@pytest.mark.parametrize("column", ["merchants", "jwt_public_keys"])
def test_a_list_of_texts_that_is_none_is_read_as_empty(store: Store, database: Database, column: str) -> None:
    _add(store, a_full_principal())
    _each_is_read_as_none(store, database, column, NO_TEXTS)


def test_passwords_that_are_none_are_read_as_an_empty_list(store: Store, database: Database) -> None:
    _add(store, a_full_principal())
    _each_is_read_as_none(store, database, "retiring_passwords", NO_PASSWORDS)


@pytest.mark.parametrize(("label", "password"), MISLEADING, ids=[label for label, _ in MISLEADING])
def test_a_password_that_only_looks_like_one_is_read_as_none(
    store: Store, database: Database, label: str, password: str
) -> None:
    _add(store, a_full_principal())
    assert label
    _each_is_read_as_none(store, database, "retiring_passwords", [f"[{password}]"])


@pytest.mark.parametrize("time", NO_TIMES)
@pytest.mark.parametrize("column", ["create_time", "update_time", "password_time"])
def test_a_time_that_is_none_is_told_as_altered(store: Store, database: Database, column: str, time: str) -> None:
    if not database.is_sqlite:
        time = {"5": "'infinity'", "1.5": "'-infinity'", "x'00'": "'20000-01-01'"}.get(time, "'0044-03-15 BC'")
    _add(store, a_full_principal())
    database.execute(f"UPDATE principal SET {column} = {time}")
    _assert_told(store, time)


def test_a_kind_that_there_is_not_is_told_as_altered(store: Store, database: Database) -> None:
    """Both databases have a CHECK against it, which an owner of the database may drop."""
    _add(store, a_full_principal())
    if database.is_sqlite:
        with database.second_writer() as writer:
            writer.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            writer.exec_driver_sql("UPDATE principal SET kind = 'ROOT'")
        _assert_told(store, "ROOT")
        return
    with database.second_writer() as writer:
        writer.exec_driver_sql("ALTER TABLE principal DROP CONSTRAINT ck_principal_kind")
        writer.exec_driver_sql("UPDATE principal SET kind = 'ROOT'")
    try:
        _assert_told(store, "ROOT")
    finally:
        with database.second_writer() as writer:  # the tables are shared by this run's tests
            kinds = ", ".join(f"'{kind}'" for kind in PrincipalKind)
            writer.exec_driver_sql("DELETE FROM principal")
            writer.exec_driver_sql(f"ALTER TABLE principal ADD CONSTRAINT ck_principal_kind CHECK (kind IN ({kinds}))")


def _first_fields() -> set[str]:
    return {
        "principal_id", "kind", "state", "password_digest", "digest_generation", "create_time", "revision", "mac",
        "mac_generation",
    }  # fmt: skip


def _each_is_read_as_none(store: Store, database: Database, column: str, values: list[str]) -> None:
    (row,) = database.rows("principal")
    for value in values:
        database.put_back("principal", {**row, column: value})
        none: dict[str, Any] = {column: ()}
        without = replace(a_full_principal(), **none)  # which its MAC denies
        assert (value[:100], without) == (value[:100], store.principal("billing"))
    database.put_back("principal", row)
    assert a_full_principal() == store.principal("billing")


def _assert_told(store: Store, value: str) -> None:
    """By every way to the row, and in words that tell nothing of what stands there."""
    reads: list[Callable[[], object]] = [
        lambda: store.principal("billing"),
        lambda: store.principal_of(SPIFFE_ID),
        lambda: store.principals(None, 10),
    ]
    assert (value[:100], {ALTERED}) == (value[:100], {_told(read) for read in reads})


def _told(read: Callable[[], object]) -> str:
    try:
        return f"it was read as {read()!r}"[:500]
    except Integrity as error:
        return error.message
