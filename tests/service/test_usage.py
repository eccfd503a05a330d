"""Last uses: seen at once, written in batches, never lost or moved back; and what a quiet time refuses."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from support.databases import Database, unsigned

from keysvc.model.errors import InvalidField, StillInUse, StoreUnavailable
from keysvc.model.names import CredentialName
from keysvc.model.records import UsageRecord
from keysvc.service.usage import Usage
from keysvc.store.store import Store
from service.parts import AES, API_KEY, CALLER, HMAC, SECOND_HMAC, Clock, Service, both_databases

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(autouse=True)
def secret(service: Service) -> str:
    service.add_merchant()
    return service.create()


@both_databases
def test_a_use_is_seen_at_once_and_after_it_was_written(
    service: Service, database: Database, secret: str, clock: Clock
) -> None:
    assert service.last_use() is None
    service.verify(secret)
    used = clock.time
    clock.forward(HOUR)
    assert (used, 0) == (service.last_use(), database.count("credential_use"))
    service.usage.flush()
    assert (used, 1) == (service.last_use(), database.count("credential_use"))
    assert used == service.replica().last_use()


def test_every_kind_of_use_counts_and_a_miss_does_not(service: Service, clock: Clock) -> None:
    name = CredentialName("m", AES)
    service.create(AES)
    service.create(API_KEY)
    service.verify("00" * 32)
    service.verdict("wrong", API_KEY)
    assert [None, None] == [service.last_use(slot) for slot in (HMAC, API_KEY)]
    service.sign()
    ciphertext, _ = service.encryption.encrypt(CALLER, name, b"plain", b"")
    assert [clock.time] * 2 == [service.last_use(slot) for slot in (HMAC, AES)]
    clock.forward(HOUR)
    service.encryption.decrypt(CALLER, name, ciphertext, b"")
    assert clock.time == service.last_use(AES)


def test_uses_of_an_old_and_a_new_key_are_told_apart(service: Service, secret: str, clock: Clock) -> None:
    new = service.renew(HMAC, HOUR)
    service.verify(new)
    first = clock.time
    clock.forward(MICROSECOND)
    service.verify(secret)
    assert (first, clock.time) == (service.last_use(version=2), service.last_use(version=1))


def test_a_last_use_never_moves_back(service: Service, clock: Clock) -> None:
    """Two threads note in another order than they read the clock, or the clock was set back."""
    later, earlier = clock.time, clock.time - HOUR
    service.usage.note("m", HMAC, 1, later)
    service.usage.note("m", HMAC, 1, earlier)
    assert later == service.last_use()
    service.usage.flush()
    service.usage.note("m", HMAC, 1, earlier)
    service.usage.flush()
    assert later == service.last_use()


def test_notes_are_kept_when_they_cannot_be_written(service: Service, database: Database, clock: Clock) -> None:
    database.execute("ALTER TABLE credential_use RENAME TO away")
    service.usage.note("m", HMAC, 1, clock.time)
    service.usage.note("m", AES, 1, clock.time)
    with pytest.raises(StoreUnavailable):
        service.usage.flush()
    service.usage.note("m", HMAC, 1, clock.time + HOUR)
    database.execute("ALTER TABLE away RENAME TO credential_use")
    assert (clock.time + HOUR, clock.time) == (service.last_use(), service.last_use(AES))
    service.usage.flush()
    assert (clock.time + HOUR, clock.time) == (service.replica().last_use(), service.replica().last_use(AES))


def test_a_batch_is_one_transaction(service: Service, database: Database, clock: Clock) -> None:
    for version in range(1, 101):
        service.usage.note("m", HMAC, version, clock.time)
    service.usage.flush()
    assert 100 == database.count("credential_use")
    database.execute("DELETE FROM credential_use")
    service.usage.flush()  # nothing is written twice
    assert 0 == database.count("credential_use")


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Threads take turns as often as they can, so that a race shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("impatient_threads")
def test_no_note_is_lost_to_a_flush_at_the_same_time(service: Service, clock: Clock) -> None:
    count = 1500

    def note(thread: int) -> None:
        for version in range(count):
            service.usage.note(f"thread-{thread}", HMAC, version, clock.time)

    threads = [threading.Thread(target=note, args=(thread,)) for thread in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        service.usage.flush()
    service.usage.flush()
    assert [count, count] == [len(service.usage.of(f"thread-{thread}")) for thread in range(2)]


class _Flushing(Store):
    """A store whose readers are overtaken: between their read and its answer, the notes are written."""

    usage_to_flush: Usage | None = None

    def usage(self, merchant_id: str) -> list[UsageRecord]:
        found = super().usage(merchant_id)
        if self.usage_to_flush is not None:
            self.usage_to_flush.flush()
        return found


def test_a_use_is_seen_while_it_is_being_written(database: Database, clock: Clock) -> None:
    store = _Flushing(database.engine(), unsigned)
    usage = Usage(store)
    usage.note("m", HMAC, 1, clock.time)
    store.usage_to_flush = usage
    assert {(HMAC, 1): clock.time} == usage.of("m")
    store.close()


@both_databases
@pytest.mark.parametrize("flushed", [False, True])
def test_a_slot_in_use_is_not_revoked_before_its_quiet_time(
    service: Service, secret: str, clock: Clock, *, flushed: bool
) -> None:
    service.verify(secret)
    if flushed:
        service.usage.flush()
    clock.forward(HOUR - MICROSECOND)
    before = _written(service)
    for validate_only in (True, False):
        with pytest.raises(StillInUse):
            service.revoke(HMAC, HOUR, validate_only=validate_only)
    assert before == _written(service)
    clock.forward(MICROSECOND)
    service.revoke(HMAC, HOUR)
    assert "NO_LIVE_KEY" == service.verdict(secret)


def test_a_use_on_another_replica_counts_once_it_was_written(service: Service, secret: str, clock: Clock) -> None:
    other = service.replica()
    other.verify(secret)
    other.usage.flush()
    clock.forward(HOUR - MICROSECOND)
    with pytest.raises(StillInUse):
        service.revoke(HMAC, HOUR)


def test_a_use_of_a_retiring_key_counts(service: Service, secret: str, clock: Clock) -> None:
    service.renew(HMAC, 2 * HOUR)
    service.verify(secret)
    clock.forward(HOUR - MICROSECOND)
    with pytest.raises(StillInUse):
        service.revoke(HMAC, HOUR)


def test_a_slot_never_used_or_used_under_another_name_is_quiet(service: Service) -> None:
    service.create(SECOND_HMAC)
    service.sign(SECOND_HMAC)
    service.revoke(HMAC, HOUR)


def test_a_key_created_after_revocation_does_not_inherit_uses(service: Service, secret: str, clock: Clock) -> None:
    service.verify(secret)
    service.revoke()
    service.usage.flush()
    service.create()
    clock.forward(MICROSECOND)
    service.revoke(HMAC, HOUR)


def test_without_a_quiet_time_a_slot_in_use_is_revoked(service: Service, secret: str) -> None:
    service.verify(secret)
    service.revoke()
    assert "NO_LIVE_KEY" == service.verdict(secret)


def test_a_negative_quiet_time_is_refused(service: Service) -> None:
    with pytest.raises(InvalidField):
        service.revoke(HMAC, -MICROSECOND)


@both_databases
def test_validate_only_changes_nothing(service: Service, secret: str) -> None:
    before = _written(service)
    service.revoke(validate_only=True)
    assert before == _written(service)
    assert "VALID" == service.verdict(secret)


def _written(service: Service) -> list[object]:
    tables = ("credential", "credential_key", "audit_event", "request", "epoch")
    return [sorted(map(str, service.database.rows(table))) for table in tables]
