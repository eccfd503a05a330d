"""The audit record in SQL: a chain without gaps, written with its change or not at all, and signed on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from support.databases import Database

from keysvc.model.audit import FIRST_HASH, SIGN_EVERY, AuditRecord, ChainEnd, SignedHead, event_hash
from keysvc.model.errors import HsmUnavailable, Integrity, StoreUnavailable
from keysvc.store.audit_log import EventFilter
from keysvc.store.changes import Change
from keysvc.store.store import Store
from store.records import NOON, a_merchant, an_event

ALL = EventFilter()


class Signer:
    """In the token's place: notes what it is asked, and fails while it is `broken`."""

    def __init__(self) -> None:
        self.asked: list[ChainEnd] = []
        self.after: list[SignedHead | None] = []
        self.broken = False

    def __call__(self, sequence: int, digest: str, last: SignedHead | None) -> tuple[int, bytes]:
        if self.broken:
            raise HsmUnavailable("The token does not answer")
        self.asked.append(ChainEnd(sequence, digest))
        self.after.append(last)
        return 3, b"signature %d" % sequence


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def store(database: Database, signer: Signer) -> Iterator[Store]:
    made = Store(database.engine(), signer)
    yield made
    made.close()


def write(store: Store, *events: AuditRecord) -> None:
    """In one change."""
    with store.change() as change:
        for event in events:
            change.audit(event)


def write_numbered(store: Store, count: int) -> None:
    write(store, *(an_event(seconds=second) for second in range(count)))


def sequences(store: Store, after: int = 0, limit: int = 100, wanted: EventFilter = ALL) -> list[int]:
    return [event.sequence for event in store.audit_events(after, limit, wanted)]


def test_events_form_a_chain_from_the_first_on(store: Store) -> None:
    written = [an_event(seconds=second) for second in range(3)]
    write(store, *written[:2])
    write(store, written[2])
    found = store.audit_events(0, 100, ALL)
    assert written == [chained.event for chained in found]
    assert [1, 2, 3] == [chained.sequence for chained in found]
    assert [FIRST_HASH, found[0].hash, found[1].hash] == [chained.previous_hash for chained in found]
    assert [event_hash(c.sequence, c.event, c.previous_hash) for c in found] == [c.hash for c in found]
    assert ChainEnd(3, found[2].hash) == store.audit_end()


def test_a_chain_without_events_ends_before_the_first(store: Store) -> None:
    assert (ChainEnd(0, FIRST_HASH), None, []) == (store.audit_end(), store.last_audit_head(), store.audit_heads())


def test_a_change_that_is_undone_leaves_no_gap(store: Store) -> None:
    write(store, an_event())
    with pytest.raises(StoreUnavailable), store.change() as change:
        _begin_and_fail(change)
    write(store, an_event(seconds=2))
    found = store.audit_events(0, 100, ALL)
    assert [(1, NOON), (2, NOON + timedelta(seconds=2))] == [(c.sequence, c.event.time) for c in found]
    assert found[0].hash == found[1].previous_hash


def _begin_and_fail(change: Change) -> None:
    change.audit(an_event(seconds=1))
    raise StoreUnavailable("The database went away")


def _add_merchant(change: Change) -> None:
    change.add_merchant(a_merchant())
    change.audit(an_event(seconds=1))


def test_events_are_paged_by_their_sequence(store: Store) -> None:
    write_numbered(store, 5)
    assert [[1, 2], [3, 4], [5], []] == [sequences(store, after, 2) for after in (0, 2, 4, 5)]


RESOURCES = ("merchants/m", "merchants/m/credentials/api-password", "merchants/m2", "merchants/M", "", "principals/m",
             "merchants/a_b", "merchants/axb/tokens/t", "merchants/a_b/tokens/t")  # fmt: skip


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        ("", list(range(1, 10))),
        ("merchants/m", [1, 2]),
        ("merchants/m2", [3]),
        ("principals/m", [6]),
        ("merchants/a_b", [7, 9]),
        ("merchants/none", []),
    ],
)
def test_a_parent_means_itself_and_what_stands_under_it(store: Store, parent: str, expected: list[int]) -> None:
    write(store, *(an_event(resource) for resource in RESOURCES))
    assert expected == sequences(store, wanted=EventFilter(parent))


def test_times_bound_from_the_start_up_to_before_the_end(store: Store) -> None:
    write_numbered(store, 5)
    start, end = NOON + timedelta(seconds=1), NOON + timedelta(seconds=3)
    microsecond = timedelta(microseconds=1)
    assert [2, 3] == sequences(store, wanted=EventFilter("", start, end))
    assert [3, 4] == sequences(store, wanted=EventFilter("", start + microsecond, end + microsecond))
    assert [2, 3, 4, 5] == sequences(store, wanted=EventFilter("", start, None))
    assert [1, 2, 3] == sequences(store, wanted=EventFilter("", None, end))


def test_every_hundredth_event_is_signed_in_its_change(store: Store, signer: Signer) -> None:
    write_numbered(store, 2 * SIGN_EVERY + 1)
    signed = [store.audit_events(sequence - 1, 1, ALL)[0] for sequence in (SIGN_EVERY, 2 * SIGN_EVERY)]
    assert [ChainEnd(event.sequence, event.hash) for event in signed] == signer.asked
    heads = store.audit_heads()
    assert [(e.sequence, e.hash, e.event.time, 3, b"signature %d" % e.sequence) for e in signed] == [
        (head.sequence, head.hash, head.time, head.generation, head.signature) for head in heads
    ]
    assert heads[-1] == store.last_audit_head()
    assert heads[1:] == store.audit_heads(after=SIGN_EVERY)


def test_each_signature_is_made_and_read_with_the_one_before(store: Store, signer: Signer) -> None:
    """Of the same change, of another, and by the minute."""
    write_numbered(store, 2 * SIGN_EVERY)
    write_numbered(store, SIGN_EVERY + 1)
    with store.change() as change:
        change.sign_audit(NOON)
    heads = store.audit_heads()
    assert [None, *heads[:-1]] == signer.after
    before = [b"", b"signature 100", b"signature 200", b"signature 300"]
    assert before == [head.previous_signature for head in heads]
    assert heads[-1] == store.last_audit_head()
    assert heads[2:] == store.audit_heads(after=2 * SIGN_EVERY)


def test_an_unreadable_signature_is_not_signed_after_and_holds_no_change_up(
    store: Store, database: Database, signer: Signer
) -> None:
    write_numbered(store, SIGN_EVERY)
    garbage = "'no time'" if database.is_sqlite else "'infinity'"
    database.execute(f"UPDATE audit_head SET time = {garbage}")
    write_numbered(store, SIGN_EVERY)
    assert (2 * SIGN_EVERY, 1) == (store.audit_end().sequence, len(signer.asked))


def test_a_token_out_of_reach_holds_no_change_up(store: Store, signer: Signer) -> None:
    signer.broken = True
    write_numbered(store, SIGN_EVERY)
    assert (SIGN_EVERY, None) == (store.audit_end().sequence, store.last_audit_head())


def test_the_end_is_signed_once(store: Store, signer: Signer) -> None:
    write_numbered(store, 3)
    for second in range(3):
        with store.change() as change:
            change.sign_audit(NOON + timedelta(seconds=second))
    assert [store.audit_end()] == signer.asked
    assert [(3, NOON)] == [(head.sequence, head.time) for head in store.audit_heads()]


def test_nothing_is_signed_where_there_is_nothing(store: Store, signer: Signer) -> None:
    with store.change() as change:
        change.sign_audit(NOON)
    assert [] == signer.asked


def raising_trigger(database: Database) -> None:
    if database.is_sqlite:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_event BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    else:
        _postgresql_trigger(database, "RAISE EXCEPTION 'the disk is full';")


def dropping_trigger(database: Database) -> None:
    if database.is_sqlite:
        database.execute("CREATE TRIGGER refuse BEFORE INSERT ON audit_event BEGIN SELECT RAISE(IGNORE); END")
    else:
        _postgresql_trigger(database, "RETURN NULL;")


def no_table(database: Database) -> None:
    database.execute("ALTER TABLE audit_event RENAME TO away")


def no_end(database: Database) -> None:
    database.execute("DELETE FROM audit_tail")


def planted_event(database: Database) -> None:
    (row,) = database.rows("audit_event")
    database.insert("audit_event", row | {"sequence": 2})


def _postgresql_trigger(database: Database, body: str) -> None:
    database.execute(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
    database.execute("CREATE TRIGGER refuse BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION refuse()")


def mend(database: Database) -> None:
    """PostgreSQL's database is every test's."""
    if database.is_sqlite:
        return
    database.execute("ALTER TABLE IF EXISTS away RENAME TO audit_event")
    database.execute("DROP FUNCTION IF EXISTS refuse CASCADE")
    if not database.rows("audit_tail"):
        database.execute("INSERT INTO audit_tail (id, sequence, hash) VALUES (1, 0, '')")


@pytest.mark.parametrize("harm", [raising_trigger, dropping_trigger, no_table, no_end, planted_event])
def test_what_cannot_be_recorded_does_not_happen(
    store: Store, database: Database, harm: Callable[[Database], None]
) -> None:
    write(store, an_event())
    harm(database)
    try:
        with pytest.raises(StoreUnavailable, match="audit record"), store.change() as change:
            _add_merchant(change)
        assert None is store.merchant("m")
        ends = [row["sequence"] for row in database.rows("audit_tail")]
        assert ([] if harm is no_end else [1]) == ends
    finally:
        mend(database)


def test_an_event_that_cannot_be_read_is_named(store: Store, database: Database) -> None:
    write_numbered(store, 5)
    garbage = "'no time'" if database.is_sqlite else "'infinity'"
    database.execute(f"UPDATE audit_event SET time = {garbage} WHERE sequence = 3")
    assert [1, 2] == sequences(store, limit=2)
    with pytest.raises(Integrity, match="audit event 3 cannot be read"):
        sequences(store)


def test_a_signature_that_cannot_be_read_is_named(store: Store, database: Database) -> None:
    write_numbered(store, SIGN_EVERY)
    garbage = "'no time'" if database.is_sqlite else "'infinity'"
    database.execute(f"UPDATE audit_head SET time = {garbage}")
    for read in (store.audit_heads, store.last_audit_head):
        with pytest.raises(Integrity, match="signature over audit event 100 cannot be read"):
            read()


@pytest.mark.parametrize("sequence", [0, -1, 3, 2**62])
def test_an_event_outside_the_chain_is_found(store: Store, database: Database, sequence: int) -> None:
    write_numbered(store, 2)
    assert None is store.stray_audit_event()
    row = database.rows("audit_event", "sequence = 2")[0]
    database.insert("audit_event", row | {"sequence": sequence})
    assert sequence == store.stray_audit_event()


def test_the_same_request_at_another_time_is_another_event(store: Store) -> None:
    event = an_event()
    write(store, event, replace(event, time=event.time + timedelta(microseconds=1)))
    one, two = store.audit_events(0, 2, ALL)
    assert one.hash != two.hash
