"""What a replica remembers is never older than the call that asks, and nothing more than that is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from support.databases import Database, unsigned

from keysvc.hsm.token import Token
from keysvc.model.errors import StoreUnavailable
from keysvc.model.records import Holdings, MerchantState
from keysvc.model.secrets import SecretText
from keysvc.service.known import Known
from keysvc.service.views import MerchantView
from keysvc.store.store import Store
from service.parts import AES, API_KEY, HMAC, Clock, Service, basic, both_databases, outcome

HOUR = timedelta(hours=1)


@pytest.fixture
def other(service: Service) -> Service:
    """A second replica, where changes are made; there are the merchants m and n."""
    replica = service.replica()
    for merchant_id in ("m", "n"):
        replica.add_merchant(merchant_id)
    return replica


CHANGES: list[Callable[[Service], object]] = [
    Service.create,
    lambda other: other.renew(HMAC, HOUR),
    Service.renew,
    Service.revoke,
    lambda other: other.move(MerchantState.SUSPENDED),
    lambda other: other.database.execute("UPDATE merchant SET psp = 'PSP_666' WHERE merchant_id = 'm'"),
]


@both_databases
def test_a_change_elsewhere_drops_what_changed_and_nothing_else(service: Service, other: Service) -> None:
    for change in CHANGES:
        service.cache.refresh()
        outcome(lambda: service.cache.merchant("m"))
        kept = _view(service, "n")
        change(other)
        assert kept is service.cache.merchant("n")
        service.cache.refresh()
        assert kept is service.cache.merchant("n")
        assert "m" not in service.cache._merchants


@both_databases
def test_what_changed_elsewhere_counts_from_the_next_call_on(service: Service, other: Service) -> None:
    old = other.create()
    assert "VALID" == service.verdict(old)
    new = other.renew()
    assert ["INVALID", "VALID"] == [service.verdict(s) for s in (old, new)]
    other.move(MerchantState.SUSPENDED)
    assert "MERCHANT_NOT_ACTIVE" == service.verdict(new)
    other.move(MerchantState.ACTIVE)
    assert "VALID" == service.verdict(new)
    other.revoke()
    assert "NO_LIVE_KEY" == service.verdict(new)


def test_what_is_remembered_is_not_read_again(service: Service, other: Service) -> None:
    secret = other.create()
    service.verify(secret)
    view = _view(service, "m")
    for _ in range(3):
        service.verify(secret)
        assert view is service.cache.merchant("m")


def test_a_merchant_that_is_not_there_is_not_remembered_as_such(service: Service, other: Service) -> None:
    assert "NotFound" == outcome(lambda: service.sign(HMAC, "new"))
    other.add_merchant("new")
    other.create(HMAC, "new")
    assert "OK" == outcome(lambda: service.sign(HMAC, "new"))


class _Interrupted(Store):
    """A store whose next read of a merchant is followed by something else, before its answer arrives."""

    between: Callable[[], object] | None = None

    def holdings(self, merchant_id: str) -> Holdings | None:
        found = super().holdings(merchant_id)
        between, self.between = self.between, None
        if between is not None:
            between()
        return found


def test_a_load_that_races_with_a_change_is_not_remembered(
    database: Database, token: Token, clock: Clock, other: Service
) -> None:
    store = _Interrupted(database.engine(), unsigned)
    service = Service(database, token, clock, store)
    secret = other.create()

    def revoked_and_seen() -> None:
        other.revoke()
        service.cache.refresh()  # by another call

    store.between = revoked_and_seen
    # This call arrived before the revocation: it may use what it has read.
    assert "VALID" == service.verdict(secret)
    assert "NO_LIVE_KEY" == service.verdict(secret)
    store.close()


def test_a_change_that_nobody_has_seen_yet_is_seen_by_the_next_call(
    database: Database, token: Token, clock: Clock, other: Service
) -> None:
    """The load races with a change as above, but no other call has moved the epoch meanwhile."""
    store = _Interrupted(database.engine(), unsigned)
    service = Service(database, token, clock, store)
    secret = other.create()
    store.between = other.revoke
    assert "VALID" == service.verdict(secret)
    assert "NO_LIVE_KEY" == service.verdict(secret)
    store.close()


def test_everything_is_forgotten_when_it_is_not_known_what_changed(service: Service, other: Service) -> None:
    """The log of changes was pruned behind a replica that slept."""
    service.admins.put("admin", SecretText("secret"))
    secret = other.create()
    service.verify(secret)
    kept = _view(service, "n")
    header = basic("admin", "secret")
    service.log_in(header)
    other.revoke()
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    other.store.forget_before(long_ago, long_ago, 0)
    service.cache.refresh()
    assert [] == list(service.cache._headers)
    assert kept is not service.cache.merchant("n")
    assert "NO_LIVE_KEY" == service.verdict(secret)


def test_headers_are_remembered_until_their_principal_changes(service: Service, other: Service) -> None:
    for name in ("admin", "auditor"):
        service.admins.put(name, SecretText("first"))
    service.log_in(basic("admin", "first"))
    remembered = dict(service.cache._headers)
    assert 1 == len(remembered)
    other.create()
    service.log_in(basic("admin", "first"))
    assert remembered == service.cache._headers
    other.admins.put("auditor", SecretText("second"))
    service.cache.refresh()
    assert remembered == service.cache._headers
    other.admins.put("admin", SecretText("second"))
    service.cache.refresh()
    assert {} == service.cache._headers


@both_databases
def test_a_password_that_was_replaced_elsewhere_stops_at_once(service: Service, other: Service) -> None:
    service.admins.put("admin", SecretText("first"))
    assert "OK" == outcome(lambda: service.log_in(basic("admin", "first")))
    other.admins.put("admin", SecretText("second"))
    assert "Unauthenticated" == outcome(lambda: service.log_in(basic("admin", "first")))
    assert "OK" == outcome(lambda: service.log_in(basic("admin", "second")))


def test_a_header_that_was_checked_before_the_epoch_moved_is_not_remembered(service: Service, other: Service) -> None:
    service.admins.put("admin", SecretText("first"))
    known = Known.of(service.log_in(basic("admin", "first")))
    as_of = service.cache.moves
    other.admins.put("admin", SecretText("second"))
    service.cache.refresh()
    service.cache.remember_header(b"key", known, as_of)
    assert service.cache.header(b"key") is None
    service.cache.remember_header(b"key", known, service.cache.moves)
    assert known is service.cache.header(b"key")


@pytest.mark.parametrize("end", [Service.renew, Service.revoke, lambda other: other.move(MerchantState.TERMINATED)])
def test_the_handles_of_keys_that_ended_are_forgotten(
    service: Service, other: Service, token: Token, end: Callable[[Service], object]
) -> None:
    kept = [other.create(HMAC, "n")]
    other.create(AES)
    secret = other.create()
    before = len(token._sessions.connection.handles)
    assert "VALID" == service.verdict(secret)
    assert "VALID" == service.verdict(kept[0], HMAC, "n")
    assert before + 2 == len(token._sessions.connection.handles)
    end(other)
    service.cache.refresh()
    assert before + 1 == len(token._sessions.connection.handles)
    service.verify(kept[0], HMAC, "n")
    assert before + 1 == len(token._sessions.connection.handles)


def test_the_handle_of_a_key_whose_overlap_ended_is_forgotten(service: Service, other: Service, clock: Clock) -> None:
    old = other.create()
    new = other.renew(HMAC, HOUR)
    handles = service.token._sessions.connection.handles
    before = len(handles)
    for secret in (old, new):
        service.verify(secret)
    assert before + 2 == len(handles)
    clock.forward(HOUR)
    assert 1 == other.maintenance.expire()
    service.verify(new)
    assert before + 1 == len(handles)


def test_a_refresh_that_fails_is_made_up_for_by_the_next(service: Service, other: Service) -> None:
    secret = other.create()
    assert "VALID" == service.verdict(secret)
    other.revoke()
    service.database.execute("ALTER TABLE change RENAME TO away")
    with pytest.raises(StoreUnavailable):
        service.cache.refresh()
    service.database.execute("ALTER TABLE away RENAME TO change")
    assert "NO_LIVE_KEY" == service.verdict(secret)


def test_bearer_secrets_need_no_handle(service: Service, other: Service, token: Token) -> None:
    secret = other.create(API_KEY)
    before = len(token._sessions.connection.handles)
    assert "VALID" == service.verdict(secret, API_KEY)
    assert before == len(token._sessions.connection.handles)


def _view(service: Service, merchant_id: str) -> MerchantView:
    view = service.cache.merchant(merchant_id)
    assert view is not None
    return view
