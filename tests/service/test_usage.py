"""Uses: seen at once, counted to the last one, written in batches, never lost or moved back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from support.databases import Database, unsigned

from keysvc.model.errors import StoreUnavailable
from keysvc.model.names import CredentialName
from keysvc.model.uses import Tally, Use, Uses, last_uses, step_of
from keysvc.service.usage import Usage
from keysvc.store.store import Store
from service.parts import AES, API_KEY, CALLER, HMAC, Clock, Service, both_databases

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
    assert [1, 2] == sorted(_calls(service.usage).values())


def test_a_use_is_of_the_key_that_matched_and_of_the_caller(service: Service, secret: str) -> None:
    service.create(API_KEY)
    service.verify(secret)
    service.cache.refresh()
    service.signing.generate_hmac(CALLER._replace(principal="billing"), ("m", None), b"order")
    fingerprint = service.holdings().slots[HMAC].fingerprint
    found = service.usage.of("m")
    assert {("m", fingerprint, "admin"), ("m", fingerprint, "billing")} == {use[:3] for use in found}
    assert {step_of(service.clock())} == {use.since for use in found}


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
    service.usage.note("m", "key", "admin", later)
    service.usage.note("m", "key", "admin", earlier)
    assert {"key": later} == last_uses(service.usage.of("m"))
    service.usage.flush()
    service.usage.note("m", "key", "admin", earlier)
    service.usage.flush()
    assert {"key": later} == last_uses(service.usage.of("m"))
    assert {"key": 3} == _calls(service.usage)


def test_notes_are_kept_when_they_cannot_be_written(service: Service, database: Database, clock: Clock) -> None:
    database.execute("ALTER TABLE credential_use RENAME TO away")
    service.usage.note("m", "one", "admin", clock.time)
    service.usage.note("m", "other", "admin", clock.time)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            service.usage.flush()
    service.usage.note("m", "one", "admin", clock.time + HOUR)
    database.execute("ALTER TABLE away RENAME TO credential_use")
    expected = ({"one": clock.time + HOUR, "other": clock.time}, {"one": 2, "other": 1})
    assert expected == (last_uses(service.usage.of("m")), _calls(service.usage))
    service.usage.flush()
    written = service.replica().usage
    assert expected == (last_uses(written.of("m")), _calls(written))


def test_a_batch_is_one_transaction(service: Service, database: Database, clock: Clock) -> None:
    for number in range(1, 101):
        service.usage.note("m", f"{number}", "admin", clock.time)
    service.usage.flush()
    assert 100 == database.count("credential_use")
    database.execute("DELETE FROM credential_use")
    service.usage.flush()  # nothing is written twice
    assert 0 == database.count("credential_use")


def test_what_a_kill_takes_is_what_was_noted_since_the_last_batch(service: Service, clock: Clock) -> None:
    """A batch is written once a second, and may itself be under way: another replica then lacks two at most."""
    other = service.replica().usage
    for noted in (3, 4, 5):
        before = sum(_calls(service.usage).values())
        for _ in range(noted):
            service.usage.note("m", "key", "admin", clock.time)
        assert before == sum(_calls(other).values())
        service.usage.flush()
        assert before + noted == sum(_calls(other).values())


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Threads take turns as often as they can, so that a race shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class _Notes:
    """Threads that note uses, each by a caller of its own, while another writes them down all the time."""

    def __init__(self, usage: Usage, clock: Clock, threads: int, count: int) -> None:
        self._usage = usage
        self._clock = clock
        self._count = count
        self._noted = [0] * threads
        self.ended = threading.Event()
        self.too_few: list[tuple[int, int]] = []
        """Reads that found fewer than had been noted before them: (noted, found)."""

    def run(self) -> None:
        others = [threading.Thread(target=work) for work in (self._read, self._flush)]
        noting = [threading.Thread(target=self._note, args=(number,)) for number in range(len(self._noted))]
        for thread in (*others, *noting):
            thread.start()
        for thread in noting:
            thread.join(30)
        self.ended.set()
        for thread in others:
            thread.join(30)

    def _note(self, number: int) -> None:
        for turn in range(self._count):
            self._usage.note("m", f"{turn % 3}", f"caller-{number}", self._clock.time)
            self._noted[number] = turn + 1

    def _read(self) -> None:
        while not self.ended.is_set():
            before = sum(self._noted)
            found = sum(_calls(self._usage).values())
            if found < before:
                self.too_few.append((before, found))

    def _flush(self) -> None:
        while not self.ended.is_set():
            self._usage.flush()


@pytest.mark.usefixtures("impatient_threads")
@both_databases
def test_no_read_shows_less_than_was_noted_before_and_at_rest_it_is_exact(
    service: Service, database: Database, clock: Clock
) -> None:
    """What moves from memory to SQL stands in one of them, or in both, at every moment."""
    threads, count = 4, 400
    notes = _Notes(service.usage, clock, threads, count)
    notes.run()
    assert [] == notes.too_few
    assert threads * count == sum(_calls(service.usage).values())
    service.usage.flush()
    assert threads * count == sum(row["calls"] for row in database.rows("credential_use"))
    found: dict[str, int] = {}
    for use, tally in service.usage.of("m").items():
        found[use.principal] = found.get(use.principal, 0) + tally.calls
    assert {f"caller-{number}": count for number in range(threads)} == found


def test_several_uses_are_noted_at_once(service: Service, clock: Clock) -> None:
    for times in (1, 1000, 3):
        service.usage.note("m", "key", "admin", clock.time, times)
    assert {"key": 1004} == _calls(service.usage)
    service.usage.flush()
    assert {"key": 1004} == _calls(service.replica().usage)


class _Overtaken(Store):
    """A store that is overtaken: something is done before it reads, between the read and its answer, or
    before it writes."""

    before_write: Callable[[], object] | None = None
    before_read: Callable[[], object] | None = None
    after_read: Callable[[], object] | None = None

    def uses(self, merchant_id: str) -> Uses:
        if self.before_read is not None:
            self.before_read()
        found = super().uses(merchant_id)
        if self.after_read is not None:
            self.after_read()
        return found

    def add_uses(self, batch: Uses) -> None:
        if self.before_write is not None:
            self.before_write()
        super().add_uses(batch)


@pytest.fixture
def overtaken(database: Database) -> Iterator[_Overtaken]:
    store = _Overtaken(database.engine(), unsigned)
    yield store
    store.close()


@pytest.mark.parametrize("when", ["before_read", "after_read"])
def test_a_use_is_seen_once_while_a_batch_is_written_around_a_read(
    overtaken: _Overtaken, clock: Clock, when: str
) -> None:
    """Memory is looked at, then SQL: what has moved meanwhile is not counted in both."""
    usage = Usage(overtaken)
    usage.note("m", "key", "admin", clock.time)

    def flush_once() -> None:
        setattr(overtaken, when, None)
        usage.flush()

    setattr(overtaken, when, flush_once)
    assert {Use("m", "key", "admin", 600, step_of(clock.time)): Tally(1, clock.time)} == usage.of("m")


def test_a_use_is_seen_while_it_is_being_written(overtaken: _Overtaken, clock: Clock) -> None:
    """And what is noted meanwhile is too."""
    usage = Usage(overtaken)
    seen: list[int] = []

    def look() -> None:
        seen.append(sum(_calls(usage).values()))
        usage.note("m", "key", "admin", clock.time)
        seen.append(sum(_calls(usage).values()))

    overtaken.before_write = look
    usage.note("m", "key", "admin", clock.time)
    usage.flush()
    assert [1, 2] == seen
    assert 2 == sum(_calls(usage).values())


def _calls(usage: Usage) -> dict[str, int]:
    """How often each key of merchant m was used."""
    found: dict[str, int] = {}
    for use, tally in usage.of("m").items():
        found[use.fingerprint] = found.get(use.fingerprint, 0) + tally.calls
    return found
