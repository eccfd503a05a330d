"""Work that one process at a time may do on a database."""

from __future__ import annotations

from support.databases import Database

from keysvc.store.alone import alone


def test_one_at_a_time_and_the_next_when_it_has_ended(database: Database) -> None:
    with alone(database.engine(), "a") as first:
        with alone(database.engine(), "a") as second:
            assert (True, False) == (first, second)
        with alone(database.engine(), "a") as third:
            assert not third, "the one that was turned away has not let go of it"
    with alone(database.engine(), "a") as afterwards:
        assert afterwards


def test_other_work_goes_on_beside_it(database: Database) -> None:
    with alone(database.engine(), "a") as first, alone(database.engine(), "b") as second:
        assert first
        assert second
