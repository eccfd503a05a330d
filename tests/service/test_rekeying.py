"""Replacing a key of the token: what is new is made with the newer one at once, the rest moves, the older one ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.databases import Database, SqliteDatabases
from support.softhsm import PIN, Tokens

from keysvc.hsm import connection, provisioning
from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.token import Token
from keysvc.model.audit import head_bytes
from keysvc.model.errors import (
    HsmKeyPending,
    HsmKeyStateWrong,
    Integrity,
    Misconfigured,
    PermissionDenied,
    StoreUnavailable,
)
from keysvc.model.hsm_keys import HsmKeyRecord, HsmKeyState, Purpose
from keysvc.model.principals import PrincipalKind
from keysvc.model.slots import Kind
from keysvc.service import rekeying
from keysvc.service.audit import AuditWatch
from keysvc.service.audit_check import ChainCheck
from keysvc.service.bootstrap import bind, require_bound
from keysvc.service.calls import Caller
from keysvc.service.hsm_keys import HsmKeys
from keysvc.service.principals import Passwords, Principals
from keysvc.service.rekeying import Moved, Rekeying
from keysvc.store.audit_log import EventFilter
from service.parts import AES, API_KEY, HMAC, Clock, Service, both_databases

ALICE, BOB = (Caller(name, "test", lambda: "") for name in ("alice", "bob"))
MOVABLE = [Purpose.WRAPPING, Purpose.ROW]
_LONG = [pytest.param(purpose, marks=pytest.mark.long) for purpose in (Purpose.ROW, Purpose.DIGEST)]
"""Each test makes five keys of its own, which takes a second."""


class World:
    """One service over a token that is opened anew where its keys are made, as `keysvc hsm` does it."""

    def __init__(self, tokens: Tokens, config: TokenConfig, database: Database, clock: Clock) -> None:
        self._tokens = tokens
        self._config = config
        self._database = database
        self._clock = clock
        self.open()
        bind(self.service.store, self.token)
        for name in ("alice", "bob"):
            self.principals().create(ALICE, name, PrincipalKind.ADMIN, {})

    def open(self) -> None:
        self.token = Token(self._tokens.module, self._config)
        self.service = Service(self._database, self.token, self._clock)
        self.service.store._keys_counted = self.token.expect_keys

    def close(self) -> None:
        self.service.close()
        self.token.close()

    @property
    def keys(self) -> HsmKeys:
        return HsmKeys(self.service.store, self.token, self.service.sealer, self._clock)

    def principals(self) -> Principals:
        passwords = Passwords(self.token, self.service.digester)
        return Principals(self.service.store, passwords, self.service.sealer, self._clock)

    def sign(self) -> None:
        AuditWatch(self.service.store, self.service.signer, self._clock).sign()

    def agree(self, purpose: Purpose) -> HsmKeyRecord:
        asked = self.keys.request(ALICE, purpose, "")
        return self.keys.approve(BOB, asked.name, "", "")

    def make(self, purpose: Purpose, generation: int, so_pin: str | None = PIN) -> None:
        self.close()
        provisioning.ensure(self._tokens.module, self._config, so_pin, purpose, generation)
        self.open()

    def rekeying(self, purpose: Purpose) -> Rekeying:
        return Rekeying(self.service.store, self.token, self.service.sealer, purpose, self._clock)

    def put_into_use(self, purpose: Purpose, so_pin: str | None = PIN) -> Rekeying:
        self.make(purpose, self.agree(purpose).generation, so_pin)
        carrying_out = self.rekeying(purpose)
        carrying_out.put_into_use()
        return carrying_out

    def forget_newer_keys(self, purpose: Purpose) -> None:
        """As a replica that has not looked at the token since before they were made."""
        connection = self.token._sessions.connection
        handles = {**connection.keyring.handles, purpose: {1: connection.keyring.handles[purpose][1]}}
        wrapping = {generation: key for generation, key in connection.keyring.wrapping.items() if generation == 1}
        connection.keyring = replace(
            connection.keyring,
            handles=handles,
            wrapping=wrapping if purpose is Purpose.WRAPPING else connection.keyring.wrapping,
        )
        self.token._looked_for = (0, 0)

    def states(self, purpose: Purpose) -> dict[int, str]:
        return {v.record.generation: v.record.state.value for v in self.keys.list() if v.record.purpose is purpose}

    def generations(self, purpose: Purpose) -> set[int]:
        """Those that rows hang on."""
        return {generation for generation in range(1, 5) if self.service.store.hanging(purpose, generation)}


@pytest.fixture
def world(tokens: Tokens, database: Database, clock: Clock) -> Iterator[World]:
    made = World(tokens, tokens.with_keys(), database, clock)
    yield made
    made.close()


def at_once(step: Callable[[], Moved]) -> Moved:
    return step()


def moved(carrying_out: Rekeying, generation: int = 1) -> list[str]:
    """What is wrong with what did not move."""
    return [stuck for batch in carrying_out.move(generation, at_once) for stuck in batch.stuck]


@both_databases
@pytest.mark.parametrize("purpose", MOVABLE)
def test_every_row_moves_every_key_goes_on_and_the_old_key_is_gone(world: World, purpose: Purpose) -> None:
    service = world.service
    service.add_merchant()
    secrets = {slot: service.create(slot) for slot in (HMAC, API_KEY)}
    service.create(AES)

    carrying_out = world.put_into_use(purpose)
    assert {1: "RETIRING", 2: "CURRENT"} == world.states(purpose)
    assert [] == moved(carrying_out)
    assert carrying_out.finish(1)

    assert {1: "DESTROYED", 2: "CURRENT"} == world.states(purpose)
    assert {2} == world.generations(purpose)
    require_bound(world.service.store, world.token)
    world.close()
    world.open()
    assert {"VALID"} == {world.service.verdict(secret, slot) for slot, secret in secrets.items()}
    assert [2] == sorted(world.token._sessions.connection.keyring.handles[purpose])


def test_a_key_erased_since_a_backup_is_out_of_reach_also_of_who_has_the_backup(world: World) -> None:
    world.service.add_merchant()
    secret = world.service.create()
    backup = world.service.row("credential_key", "slot = 'primary-hmac-key'")
    slot = world.service.row("credential", "slot = 'primary-hmac-key'")
    world.service.revoke()
    assert world.put_into_use(Purpose.WRAPPING).finish(1)
    for table, row in (("credential", slot), ("credential_key", backup)):
        world.service.database.put_back(table, row, foreign_keys=False)
    assert "HsmUnavailable" == world.service.replica().verdict(secret)


def test_replacing_goes_on_where_it_was_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekeying, "BATCH", 2)
    for merchant in range(5):
        world.service.add_merchant(f"m{merchant}")
        world.service.create(HMAC, f"m{merchant}")
    stopped = world.put_into_use(Purpose.WRAPPING).move(1, at_once)
    assert 2 == next(stopped).rows
    stopped.close()  # type: ignore[attr-defined]

    again = world.rekeying(Purpose.WRAPPING)
    assert ([1], 3) == (again.retiring(), again.hanging(1))
    assert [2, 1] == [batch.rows for batch in again.move(1, at_once)]
    assert again.finish(1)
    assert {2} == world.generations(Purpose.WRAPPING)


def test_an_altered_row_is_named_and_keeps_the_old_key(world: World) -> None:
    for merchant in ("m", "n"):
        world.service.add_merchant(merchant)
        world.service.create(HMAC, merchant)
    world.service.database.execute("UPDATE credential_key SET create_time = '2020-01-01' WHERE merchant_id = 'm'")
    carrying_out = world.put_into_use(Purpose.WRAPPING)
    [stuck] = moved(carrying_out)
    assert "merchants/m/credentials/primary-hmac-key was altered" in stuck
    assert not carrying_out.finish(1)
    assert {1: "RETIRING", 2: "CURRENT"} == world.states(Purpose.WRAPPING)
    assert world.token._sessions.connection.keyring.wrapping.keys() == {1, 2}


@pytest.mark.parametrize("purpose", [Purpose.WRAPPING, *_LONG])
def test_a_replica_that_has_not_looked_since_makes_nothing_with_the_old_key(world: World, purpose: Purpose) -> None:
    """So nothing hangs on the old key that the sweep has passed already."""
    world.service.add_merchant()
    world.put_into_use(purpose)
    world.forget_newer_keys(purpose)
    secret = world.service.create(API_KEY if purpose is Purpose.DIGEST else HMAC)
    key = world.service.row("credential_key", "merchant_id = 'm'")
    assert 2 == key["mac_generation" if purpose is Purpose.ROW else "generation"]
    assert "VALID" == world.service.verdict(secret, API_KEY if purpose is Purpose.DIGEST else None)


@pytest.mark.parametrize("purpose", [Purpose.WRAPPING, *_LONG])
def test_a_replica_that_has_not_looked_since_takes_what_was_made_with_the_new_key(
    world: World, purpose: Purpose
) -> None:
    world.service.add_merchant()
    world.put_into_use(purpose)
    slot = API_KEY if purpose is Purpose.DIGEST else HMAC
    secret = world.service.create(slot)
    world.forget_newer_keys(purpose)
    assert "VALID" == world.service.replica().verdict(secret, slot if purpose is Purpose.DIGEST else None)


def test_a_digest_key_ends_when_the_last_secret_that_it_digested_was_renewed(world: World) -> None:
    world.service.add_merchant()
    old = world.service.create(API_KEY)
    carrying_out = world.put_into_use(Purpose.DIGEST)
    assert "VALID" == world.service.verdict(old, API_KEY)
    assert 3 == carrying_out.hanging(1)  # the API key's, and both administrators'
    assert not carrying_out.finish(1)

    new = world.service.renew(API_KEY)
    for name in ("alice", "bob"):
        world.principals().renew_password(ALICE, name, timedelta(), "")
    assert world.rekeying(Purpose.DIGEST).finish(1)
    assert ("VALID", "INVALID") == (world.service.verdict(new, API_KEY), world.service.verdict(old, API_KEY))


def test_a_retiring_password_keeps_the_digest_key_that_made_it(world: World) -> None:
    carrying_out = world.put_into_use(Purpose.DIGEST)
    for name in ("alice", "bob"):
        world.principals().renew_password(ALICE, name, timedelta(days=1), "")
    assert 2 == carrying_out.hanging(1)


def test_a_wrapping_key_that_nobody_trusts_lets_no_key_move(tokens: Tokens, tmp_path: Path, clock: Clock) -> None:
    """Made without the security officer. Its keys are renewed instead, and then it ends as any other."""
    config = tokens.blank()
    provisioning.make_missing(tokens.module, config, None)
    database = SqliteDatabases(tmp_path).new(tmp_path)
    world = World(tokens, config, database, clock)
    try:
        world.service.add_merchant()
        world.service.create()
        carrying_out = world.put_into_use(Purpose.WRAPPING)
        assert ["merchants/m/credentials/primary-hmac-key cannot move inside the token: renew it"] == moved(
            carrying_out
        )
        assert not carrying_out.finish(1)
        secret = world.service.renew()
        assert world.rekeying(Purpose.WRAPPING).finish(1)
        assert "VALID" == world.service.verdict(secret)
    finally:
        world.close()
        database.close()


def test_an_audit_key_that_was_replaced_checks_what_it_signed(world: World) -> None:
    world.sign()
    world.put_into_use(Purpose.AUDIT)
    world.sign()
    assert {1, 2} == world.generations(Purpose.AUDIT)
    assert [1, 2] == [head.generation for head in world.service.store.audit_heads()]
    check = ChainCheck(world.service.store, world.service.signer, [])
    assert check.total == list(check.run())[-1]


def test_an_audit_key_that_was_replaced_signs_nothing_more(world: World) -> None:
    """Somebody got hold of it: what it signs after the newer one is told, by the watch and by the check."""
    world.put_into_use(Purpose.AUDIT)
    world.sign()
    watch = AuditWatch(world.service.store, world.service.signer, world.service.clock)
    watch.look()
    world.service.add_merchant("n")
    end, last = world.service.store.audit_end(), world.service.store.last_audit_head()
    assert last is not None
    signature = world.token.keyed_digest(Purpose.AUDIT, 1, head_bytes(end.sequence, end.hash, last.signature))
    row = {**world.service.row("audit_head", "true"), "sequence": end.sequence, "hash": end.hash,
           "generation": 1, "signature": signature}  # fmt: skip
    world.service.database.insert("audit_head", row)
    assert not world.service.signer.follows(world.service.store.last_audit_head())
    with pytest.raises(Integrity, match="is of audit key 1, which was replaced by 2 before it"):
        list(ChainCheck(world.service.store, world.service.signer, []).run())


def test_a_look_at_the_token_that_began_before_another_does_not_undo_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended later, and knows less: were it believed, what is new would be made with the old key for good."""
    world.make(Purpose.ROW, world.agree(Purpose.ROW).generation)
    token_connection = world.token._sessions.connection
    slow, may_end = threading.Event(), threading.Event()
    right_keys = connection._right_keys

    def held_up(*arguments: Any) -> Any:
        found = replace(right_keys(*arguments), handles={**token_connection.keyring.handles, Purpose.ROW: {1: 0}})
        slow.set()
        assert may_end.wait(5)
        return found

    monkeypatch.setattr(connection, "_right_keys", held_up)
    monkeypatch.setattr(connection.Connection, "_require_same", lambda *_: None)
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(token_connection.find_keys, token_connection.login)
        assert slow.wait(5)
        monkeypatch.setattr(connection, "_right_keys", right_keys)
        world.rekeying(Purpose.ROW).put_into_use()
        may_end.set()
        early.result()
    assert 2 == world.token.newest(Purpose.ROW)


@pytest.mark.parametrize("purpose", [Purpose.WRAPPING, *_LONG])
def test_an_end_that_was_cut_off_before_it_was_noted_is_noted_by_the_next_run(
    world: World, purpose: Purpose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is gone, and the database does not know: everything starts all the same."""
    carrying_out = world.put_into_use(purpose)
    moved(carrying_out)
    for name in ("alice", "bob"):
        world.principals().renew_password(ALICE, name, timedelta(), "")
    destroy_key = Token.destroy_key

    def cut_off(token: Token, *key: Any) -> None:
        destroy_key(token, *key)
        raise StoreUnavailable("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(Token, "destroy_key", cut_off)
        with pytest.raises(StoreUnavailable):
            carrying_out.finish(1)
    world.close()
    world.open()
    assert {1: "RETIRING", 2: "CURRENT"} == world.states(purpose)
    require_bound(world.service.store, world.token)
    assert world.rekeying(purpose).finish(1)
    assert {1: "DESTROYED", 2: "CURRENT"} == world.states(purpose)


def test_what_is_made_already_is_not_withdrawn(world: World) -> None:
    """A replica that starts now uses it."""
    world.make(Purpose.AUDIT, world.agree(Purpose.AUDIT).generation)
    with pytest.raises(HsmKeyStateWrong, match="its key is made already, so carry it out"):
        world.keys.withdraw(ALICE, "hsmKeys/audit-2", "", "")


def test_nothing_is_done_without_an_agreement(world: World) -> None:
    world.keys.request(ALICE, Purpose.ROW, "")
    assert world.rekeying(Purpose.ROW).approved() is None
    with pytest.raises(Misconfigured, match="No row key is agreed to"):
        world.rekeying(Purpose.ROW).put_into_use()


def test_nobody_agrees_with_itself_and_nothing_is_asked_for_twice(world: World) -> None:
    asked = world.keys.request(ALICE, Purpose.ROW, "")
    with pytest.raises(PermissionDenied):
        world.keys.approve(ALICE, asked.name, "", "")
    with pytest.raises(HsmKeyPending):
        world.keys.request(BOB, Purpose.ROW, "")
    world.keys.withdraw(BOB, asked.name, "", "")
    assert {1: "CURRENT"} == world.states(Purpose.ROW)


def test_an_agreement_ends_with_the_administrator_who_gave_it(world: World) -> None:
    world.agree(Purpose.ROW)
    world.principals().disable(ALICE, "bob", "")
    with pytest.raises(Misconfigured, match="principals/bob, who agreed to hsmKeys/row-2, is no active administrator"):
        world.rekeying(Purpose.ROW).approved()


def test_an_agreement_that_was_written_into_the_database_is_none(world: World) -> None:
    world.keys.request(ALICE, Purpose.ROW, "")
    world.service.database.execute("UPDATE hsm_key SET state = 'APPROVED', approver = 'bob'")
    with pytest.raises(Integrity, match="hsmKeys/row-2 was altered"):
        world.rekeying(Purpose.ROW).approved()


def test_the_key_that_is_put_into_use_is_the_newest_of_the_token(world: World) -> None:
    world.agree(Purpose.ROW)
    with pytest.raises(Misconfigured, match="hsmKeys/row-2 is not the newest row key of the token"):
        world.rekeying(Purpose.ROW).put_into_use()
    assert {1: "CURRENT", 2: HsmKeyState.APPROVED.value} == world.states(Purpose.ROW)


def test_every_step_is_in_the_audit_record(world: World) -> None:
    assert world.put_into_use(Purpose.ROW)
    carrying_out = world.rekeying(Purpose.ROW)
    moved(carrying_out)
    carrying_out.finish(1)
    events = world.service.store.audit_events(0, 100, EventFilter())
    told = [(e.event.principal, e.event.resource) for e in events if e.event.resource.startswith("hsmKeys/")]
    assert [
        ("principals/alice", "hsmKeys/row-2"), ("principals/bob", "hsmKeys/row-2"), ("keysvc", "hsmKeys/row-2"),
        ("keysvc", "hsmKeys/row-1"),
    ] == told  # fmt: skip


def test_kinds_are_told_apart(world: World) -> None:
    """A bearer secret's digest hangs on the digest key, and no wrapping key."""
    world.service.add_merchant()
    world.service.create(API_KEY)
    assert Kind.BEARER_SECRET.value == world.service.row("credential_key", "merchant_id = 'm'")["kind"]
    assert (0, 3) == tuple(world.service.store.hanging(p, 1) for p in (Purpose.WRAPPING, Purpose.DIGEST))
