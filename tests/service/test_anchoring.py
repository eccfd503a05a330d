"""The anchor in the token: what it holds, when it moves, and a database that is older than it tells."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass, Session
from structlog.testing import capture_logs
from support.databases import Database

from keysvc.hsm import anchor
from keysvc.hsm.anchor import AnchorNotKept
from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.token import Token
from keysvc.model import anchors
from keysvc.model.anchors import Anchor
from keysvc.model.errors import HsmUnavailable
from keysvc.service.anchoring import EPOCH_LEAP, Anchoring, DatabaseOlder
from keysvc.service.cache import Cache
from keysvc.service.calls import itself, record
from service.parts import HMAC, Clock, Service, both_databases

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def no_anchor(token: Token) -> Iterator[None]:
    """The token is of all tests here, and its anchor of one."""
    remove_all(token)
    yield
    remove_all(token)


def session_of(token: Token) -> Session:
    """A read-write session: as somebody with the PIN has it."""
    return token._sessions.connection.token.open(rw=True)


def remove_all(token: Token) -> None:
    with closing(session_of(token)) as session:
        for found in stored(session):
            found.destroy()


def stored(session: Session) -> list[pkcs11.Object]:
    return list(session.get_objects({Attribute.CLASS: ObjectClass.DATA}))


def store_by_hand(token: Token, value: bytes) -> None:
    with closing(session_of(token)) as session:
        anchor._store(session, value)


def anchoring_of(service: Service, token: Any = None) -> Anchoring:
    return Anchoring(service.store, token or service.token, service.signer, service.clock, MINUTE)


def in_token(token: Token) -> list[Anchor]:
    return [anchors.read(value)[0] for value in token.anchor_values()]


def sign(service: Service) -> None:
    """An event, and a signature over it, as the maintenance has them made."""
    with service.store.change() as change:
        record(change, itself("test"), "", time=service.clock())
        change.sign_audit(service.clock())


def refused(anchoring: Anchoring) -> str:
    with pytest.raises(DatabaseOlder) as error:
        anchoring.require_held()
    assert 1 == len(error.value.message.splitlines())
    return error.value.message


def test_the_anchor_is_made_where_there_is_none_and_follows_what_is_committed(service: Service) -> None:
    anchoring = anchoring_of(service)
    anchoring.require_held()
    anchoring.advance()
    service.add_merchant()
    sign(service)
    anchoring.advance()
    anchoring.require_held()
    (found,) = in_token(service.token)
    assert (service.store.committed_epoch(), service.store.audit_end()) == (found.epoch, found.signed)
    assert found.epoch > 0
    assert found.signed.sequence > 0


def test_only_who_has_the_pin_sees_it_and_nobody_edits_it(service: Service) -> None:
    anchoring_of(service).advance()
    with closing(session_of(service.token)) as session:
        (found,) = stored(session)
        kept = [found[name] for name in (Attribute.PRIVATE, Attribute.TOKEN, Attribute.MODIFIABLE, Attribute.LABEL)]
    assert [True, True, False, "keysvc-anchor"] == kept


def test_what_has_not_changed_is_not_written_again(service: Service) -> None:
    anchoring = anchoring_of(service)
    anchoring.advance()
    before = service.token.anchor_values()
    service.clock.forward(MINUTE)
    anchoring.advance()
    assert before == service.token.anchor_values()


def test_an_older_epoch_is_refused_and_told_with_both_times(service: Service, database: Database) -> None:
    service.add_merchant()
    anchoring = anchoring_of(service)
    anchoring.advance()
    database.execute("UPDATE epoch SET value = value - 1")
    told = refused(anchoring)
    for word in (
        "epoch is 1,", "epoch 2,", "2026-05-01T12:00:00.123457+00:00", "revocations", "newest backup",
        "keysvc db accept-restored",
    ):  # fmt: skip
        assert word in told
    with pytest.raises(DatabaseOlder):
        anchoring.advance()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_head",
        "DELETE FROM audit_head WHERE sequence = 2",
        "UPDATE audit_head SET hash = 'another' WHERE sequence = 2",
        "DELETE FROM audit_event WHERE sequence = 2",
        "UPDATE audit_event SET hash = 'another' WHERE sequence = 2",
        "UPDATE audit_event SET time = 'never' WHERE sequence = 2",
    ],
)
def test_an_audit_record_without_the_anchored_signature_is_refused(
    service: Service, database: Database, statement: str
) -> None:
    """Also where it went on since."""
    sign(service)
    sign(service)
    anchoring = anchoring_of(service)
    anchoring.advance()
    sign(service)
    database.execute(statement)
    assert "lacks its event 2" in refused(anchoring)


def test_an_anchor_that_the_audit_key_did_not_make_is_told(service: Service) -> None:
    anchoring = anchoring_of(service)
    anchoring.advance()
    ((found, mac),) = [anchors.read(value) for value in service.token.anchor_values()]
    forged = Anchor(7, found.signed, found.time, found.generation)
    of_no_key = Anchor(found.epoch, found.signed, found.time, 99)
    for value in (forged.to_bytes(mac), of_no_key.to_bytes(mac), found.to_bytes(bytes(32)), b"", b"\xff[", b"[1]"):
        remove_all(service.token)
        store_by_hand(service.token, value)
        assert "altered" in refused(anchoring)
        with pytest.raises(DatabaseOlder):
            anchoring.advance()


def test_a_forged_one_beside_the_right_one_is_told_too(service: Service) -> None:
    anchoring = anchoring_of(service)
    anchoring.advance()
    store_by_hand(service.token, b"forged")
    assert "altered" in refused(anchoring)


class Paused:
    """The token, seen by a replica that is interrupted between its reading and its writing."""

    def __init__(self, token: Token, meanwhile: Any) -> None:
        self._token = token
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._token, name)

    def put_anchor(self, value: bytes, instead_of: Collection[bytes]) -> None:
        self._meanwhile()
        self._token.put_anchor(value, instead_of)


def test_a_replica_that_writes_late_takes_nothing_back(service: Service) -> None:
    other = service.replica()
    anchoring_of(service).advance()

    def meanwhile() -> None:
        other.add_merchant()
        sign(other)
        anchoring_of(other).advance()

    service.add_merchant("first")
    anchoring_of(service, Paused(service.token, meanwhile)).advance()
    newest = other.store.committed_epoch()
    assert newest == max(found.epoch for found in in_token(service.token))
    other.add_merchant("last")
    anchoring_of(other).advance()
    assert [other.store.committed_epoch()] == [found.epoch for found in in_token(service.token)]


class Interrupted:
    """A session whose first search is followed by what others do before its objects are read."""

    def __init__(self, session: Session, meanwhile: Any) -> None:
        self._session = session
        self._meanwhile = [meanwhile]

    def get_objects(self, template: Any) -> list[pkcs11.Object]:
        found = list(self._session.get_objects(template))
        if self._meanwhile:
            self._meanwhile.pop()()
        return found


def test_a_reader_whose_object_is_replaced_under_it_finds_the_new_one(service: Service) -> None:
    anchoring = anchoring_of(service)
    anchoring.advance()
    service.add_merchant()
    with closing(session_of(service.token)) as session:
        reader: Any = Interrupted(session, anchoring.advance)
        values = anchor.values(service.token._sessions.connection, reader)
    assert [2] == [anchors.read(value)[0].epoch for value in values]


class Overtaken:
    """A session whose first searches come to the old object after it was destroyed, and began before the new one was
    stored: SoftHSM collects what there is, and then leaves out what is gone."""

    def __init__(self, session: Session, searches: int) -> None:
        self._session = session
        self._left = searches

    def get_objects(self, template: Any) -> list[pkcs11.Object]:
        self._left -= 1
        return [] if self._left >= 0 else list(self._session.get_objects(template))


def test_a_search_that_is_overtaken_by_a_replacement_is_not_taken_for_a_token_without_an_anchor(
    service: Service,
) -> None:
    anchoring_of(service).advance()
    with closing(session_of(service.token)) as session:
        reader: Any = Overtaken(session, 2)
        assert 1 == len(anchor.values(service.token._sessions.connection, reader))


def start_replica(config: TokenConfig, database: Database, name: str) -> subprocess.Popen[bytes]:
    """In a process of its own: within one, SoftHSM shows other threads objects that are not wholly made yet."""
    program = Path(__file__).with_name("scenarios") / "replica.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, program, config.label, database.url, name], env=environment)


def test_replicas_that_write_at_the_same_time_never_leave_the_token_without_or_ahead(
    service: Service, token_config: TokenConfig
) -> None:
    anchoring_of(service).advance()
    highest, wrong = 0, list[str]()
    with ExitStack() as running:
        replicas = [running.enter_context(start_replica(token_config, service.database, name)) for name in ("a", "b")]
        while any(replica.poll() is None for replica in replicas):
            found = [each.epoch for each in in_token(service.token)]
            if not found or not highest <= max(found) <= service.store.committed_epoch():
                wrong.append(f"{found} after {highest}")
            highest = max([highest, *found])
    assert [0, 0] == [replica.returncode for replica in replicas]
    assert [] == wrong
    sign(service)
    anchoring_of(service).advance()
    assert [service.store.committed_epoch()] == [found.epoch for found in in_token(service.token)]


def test_it_is_written_once_a_minute_by_whichever_replica_and_at_a_stop(service: Service, clock: Clock) -> None:
    first, second = anchoring_of(service), anchoring_of(service.replica())
    first.keep()
    service.add_merchant()
    clock.forward(MINUTE - timedelta(seconds=1))
    for anchoring in (first, second):
        anchoring.keep()
        assert [0] == [found.epoch for found in in_token(service.token)]
    clock.forward(timedelta(seconds=1))
    second.keep()
    assert [2] == [found.epoch for found in in_token(service.token)]
    service.add_merchant("n")
    first.leave()
    assert [4] == [found.epoch for found in in_token(service.token)]


def test_when_it_was_kept_last_is_told_though_nobody_had_to_write(service: Service, clock: Clock) -> None:
    first, second = anchoring_of(service), anchoring_of(service.replica())
    assert first.last_kept is None
    first.keep()
    clock.forward(timedelta(seconds=1))
    second.keep()
    assert [clock() - timedelta(seconds=1), clock()] == [first.last_kept, second.last_kept]


def test_a_clock_that_was_ahead_does_not_keep_it_from_being_written(service: Service, clock: Clock) -> None:
    clock.forward(timedelta(days=365))
    anchoring_of(service).keep()
    clock.forward(timedelta(days=-365))
    service.add_merchant()
    anchoring_of(service).keep()
    assert [2] == [found.epoch for found in in_token(service.token)]


def test_maintenance_keeps_it_from_the_start_to_the_last_signature(service: Service) -> None:
    service.maintenance.keep_anchor(anchoring_of(service), 60)
    service.maintenance.start()
    service.add_merchant()
    service.maintenance.stop()
    (found,) = in_token(service.token)
    end = service.store.audit_end()
    assert (2, end) == (found.epoch, found.signed)
    assert end.sequence > 0


def test_a_database_that_went_back_under_a_running_service_is_logged_and_not_anchored(
    service: Service, database: Database
) -> None:
    service.add_merchant()
    anchoring = anchoring_of(service)
    anchoring.keep()
    before = service.token.anchor_values()
    database.execute("UPDATE epoch SET value = 1")
    assert anchoring.held
    with capture_logs() as logs:
        anchoring.leave()
    assert not anchoring.held
    assert [("anchor.not_held", "error")] == [(entry["event"], entry["log_level"]) for entry in logs]
    assert before == service.token.anchor_values()


def test_a_signature_that_is_not_the_tokens_is_not_anchored(service: Service, database: Database) -> None:
    sign(service)
    anchoring_of(service).advance()
    before = service.token.anchor_values()
    sign(service)
    database.execute("UPDATE audit_head SET signature = x'00' WHERE sequence = 2")
    anchoring_of(service).advance()
    assert before == service.token.anchor_values()


@both_databases
def test_accepting_drops_what_every_replica_remembers_is_recorded_and_anchored(
    service: Service, database: Database
) -> None:
    service.add_merchant()
    secret = service.create(HMAC)
    sign(service)
    running = service.replica()
    assert "VALID" == running.verdict(secret)
    anchoring = anchoring_of(service)
    anchoring.advance()
    (anchored,) = in_token(service.token)
    database.execute("UPDATE epoch SET value = 2")
    begun = service.clock()
    service.clock.forward(MINUTE)
    accepted = anchoring.accept()
    assert (begun, anchored.time) == (accepted.newest_event, accepted.anchored)
    assert anchored.epoch + EPOCH_LEAP == accepted.epoch == service.store.committed_epoch()
    anchoring.require_held()
    assert [accepted.epoch] == [found.epoch for found in in_token(service.token)]
    newest = database.rows("audit_event")[-1]
    assert ("keysvc", "accept-restored", "OK") == (newest["principal"], newest["method"], newest["outcome"])
    assert newest["sequence"] == in_token(service.token)[0].signed.sequence
    assert remembered(running.cache) > 0
    running.cache.refresh()
    assert 0 == remembered(running.cache)
    assert "VALID" == running.verdict(secret)


def remembered(cache: Cache) -> int:
    return len(cache._merchants)


def test_accepting_goes_beyond_changes_that_a_table_still_tells(service: Service, database: Database) -> None:
    """Of a database of which tables were restored one by one."""
    database.execute("INSERT INTO change (epoch, subject) VALUES (70, 'merchants/m')")
    assert 70 + EPOCH_LEAP == anchoring_of(service).accept().epoch


def test_accepting_takes_an_altered_anchor_out(service: Service) -> None:
    for value in (b"forged", b"forged too"):
        store_by_hand(service.token, value)
    accepted = anchoring_of(service).accept()
    assert (None, None) == (accepted.newest_event, accepted.anchored)
    anchoring_of(service).require_held()
    assert [accepted.epoch] == [found.epoch for found in in_token(service.token)]


def test_a_record_with_a_forged_signature_is_not_accepted(service: Service, database: Database) -> None:
    sign(service)
    anchoring_of(service).advance()
    database.execute("UPDATE audit_head SET signature = x'00'")
    with pytest.raises(HsmUnavailable, match="keysvc audit verify"):
        anchoring_of(service).accept()
    assert 0 == service.store.committed_epoch()
    assert [0] == [found.epoch for found in in_token(service.token)]


class WriteProtected:
    """A token that opens no session for writing, so that storing fails as the token fails it."""

    def __init__(self, token: pkcs11.Token) -> None:
        self._token = token
        self.slot = token.slot

    def open(self, **_: object) -> Session:
        return self._token.open()


def test_a_token_that_stores_nothing_is_told_once_and_the_service_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = service.token._sessions.connection
    monkeypatch.setattr(connection, "token", WriteProtected(connection.token))
    anchoring = anchoring_of(service)
    with capture_logs() as logs:
        anchoring.keep()
        anchoring.keep()
    assert anchoring.last_kept is None
    assert [("anchor.not_kept", "warning")] == [(entry["event"], entry["log_level"]) for entry in logs]
    assert "SessionReadOnly" in logs[0]["reason"]
    anchoring.require_held()
    with pytest.raises(AnchorNotKept):
        anchoring.advance()
    assert service.token.heal() is None


def test_whether_a_token_can_keep_one_is_found_by_trying_and_leaves_nothing(service: Service) -> None:
    connection = service.token._sessions.connection
    with closing(session_of(service.token)) as session:
        assert anchor.lacking(session) is None
        assert [] == stored(session)
    with closing(connection.token.open()) as session:
        told = anchor.lacking(session)
    assert told is not None
    assert "SessionReadOnly" in told
