"""The first start: a database is bound to a token, and refused to another; the first administrator survives crashes."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.databases import Database
from support.softhsm import Tokens

from keysvc.cli import first_admin
from keysvc.cli.first_admin import ADMIN, ensure_admin, replace_password
from keysvc.hsm.token import Token
from keysvc.model.errors import Misconfigured
from keysvc.model.secrets import SecretText
from keysvc.service.bootstrap import Admins, bind, require_bound
from keysvc.service.calls import itself
from keysvc.service.principals import Passwords, Principals
from keysvc.store.store import Store
from service.parts import Service, basic, outcome


@pytest.fixture(scope="module")
def another_token(tokens: Tokens) -> Iterator[Token]:
    opened = tokens.open()
    yield opened
    opened.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "admin-credentials"


def test_a_new_database_is_refused_until_it_is_bound(service: Service) -> None:
    with pytest.raises(Misconfigured, match="keysvc init"):
        require_bound(service.store, service.token)
    bind(service.store, service.token)
    require_bound(service.store, service.token)


def test_binding_again_changes_nothing(service: Service, database: Database) -> None:
    bind(service.store, service.token)
    before = database.rows("token_binding")
    bind(service.store, service.token)
    assert before == database.rows("token_binding")
    assert {"row", "digest"} == {row["purpose"] for row in before}


@pytest.mark.parametrize("check", [bind, require_bound])
def test_the_database_of_another_token_is_refused(
    service: Service, another_token: Token, check: Callable[[Store, Token], None]
) -> None:
    bind(service.store, another_token)
    with pytest.raises(Misconfigured) as refused:
        check(service.store, service.token)
    told = refused.value.message
    assert 1 == len(told.splitlines())
    for named in ("KEYSVC_TOKEN_LABEL", "KEYSVC_DATABASE_URL"):
        assert named in told


@pytest.mark.parametrize("edit", ["check_value = x'00'", "generation = 2"])
def test_a_binding_that_was_edited_is_refused(service: Service, database: Database, edit: str) -> None:
    bind(service.store, service.token)
    database.execute(f"UPDATE token_binding SET {edit}")
    with pytest.raises(Misconfigured):
        require_bound(service.store, service.token)


def test_the_first_start_makes_the_administrator_and_its_file(service: Service, file: Path) -> None:
    assert ensure_admin(service.admins, file)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    name, _, password = file.read_text().partition(":")
    assert (ADMIN, 32, password) == (name, len(password), password.strip().upper())
    _file_works(service, file)


def test_a_later_start_changes_nothing(service: Service, file: Path) -> None:
    ensure_admin(service.admins, file)
    before = file.read_text()
    assert not ensure_admin(service.admins, file)
    assert before == file.read_text()
    _file_works(service, file)


def test_a_password_is_replaced_when_its_file_was_lost(service: Service, file: Path) -> None:
    ensure_admin(service.admins, file)
    before = file.read_text().partition(":")[2]
    file.unlink()
    assert not ensure_admin(service.admins, file)
    replace_password(service.admins, file)
    _file_works(service, file)
    assert "Unauthenticated" == outcome(lambda: service.log_in(basic(ADMIN, before)))


class _Crash(BaseException):
    """The process was killed."""


class _Dying(Admins):
    """Crashes before or after the commit."""

    after_commit = False

    def put(self, principal_id: str, password: SecretText) -> None:
        if self.after_commit:
            super().put(principal_id, password)
        raise _Crash


@pytest.mark.parametrize("after_commit", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_crash_at_the_first_start_is_made_up_for(
    service: Service, file: Path, *, after_commit: bool, again: bool
) -> None:
    """Between the pending file and the commit, or between the commit and the file's last name; once, or twice."""
    dying = _dying(service, after_commit=after_commit)
    with pytest.raises(_Crash):
        ensure_admin(dying, file)
    assert not file.exists()
    if again and not after_commit:
        with pytest.raises(_Crash):
            ensure_admin(dying, file)
    assert ensure_admin(service.admins, file)
    _file_works(service, file)
    assert [file] == list(file.parent.glob(f"{file.name}*"))


@pytest.mark.parametrize("after_commit", [False, True])
def test_a_crash_while_a_lost_file_is_replaced_is_made_up_for(
    service: Service, file: Path, *, after_commit: bool
) -> None:
    ensure_admin(service.admins, file)
    file.unlink()
    with pytest.raises(_Crash):
        replace_password(_dying(service, after_commit=after_commit), file)
    _start(service, file)
    _file_works(service, file)


def test_a_crash_while_the_pending_file_is_written_is_made_up_for(service: Service, file: Path) -> None:
    half_written = first_admin._pending(file).with_name(first_admin._pending(file).name + ".new")
    half_written.write_text("admin:HALF")
    assert ensure_admin(service.admins, file)
    _file_works(service, file)
    assert [file] == list(file.parent.glob(f"{file.name}*"))


def test_a_pending_file_that_was_never_committed_opens_nothing(service: Service, file: Path) -> None:
    """It lies beside a good file since a crash long ago."""
    ensure_admin(service.admins, file)
    first_admin._pending(file).write_text(f"{ADMIN}:NEVER-COMMITTED")
    assert not ensure_admin(service.admins, file)
    _file_works(service, file)
    assert "Unauthenticated" == outcome(lambda: service.log_in(basic(ADMIN, "NEVER-COMMITTED")))


def _dying(service: Service, *, after_commit: bool) -> _Dying:
    dying = _Dying(service.store, service.token, service.sealer, service.digester, service.clock)
    dying.after_commit = after_commit
    return dying


def _start(service: Service, file: Path) -> None:
    """What `keysvc dev` does at every start."""
    if not ensure_admin(service.admins, file) and not file.exists():
        replace_password(service.admins, file)


def _file_works(service: Service, file: Path) -> None:
    name, _, password = file.read_text().partition(":")
    assert "OK" == outcome(lambda: service.log_in(basic(name, password)))


def test_an_administrator_whose_row_was_altered_keeps_none_of_the_proofs_that_it_names(
    service: Service, database: Database
) -> None:
    """Or whoever wrote their own into it would be let in by the renewal that mends it."""
    service.admins.put(ADMIN, SecretText("first"))
    database.execute("UPDATE principal SET spiffe_id = 'spiffe\\://evil/admin'")
    service.admins.put(ADMIN, SecretText("second"))
    service.cache.refresh()
    assert service.cache.principal_of("spiffe://evil/admin") is None
    assert "OK" == outcome(lambda: service.log_in(basic(ADMIN, "second")))


def test_a_renewed_administrator_keeps_the_proofs_that_it_has(service: Service) -> None:
    service.admins.put(ADMIN, SecretText("first"))
    principals = Principals(service.store, Passwords(service.token, service.digester), service.sealer, service.clock)
    principals.update(itself("test"), ADMIN, "", {"spiffe_id": "spiffe://keysvc.test/admin"})
    service.admins.put(ADMIN, SecretText("second"))
    service.cache.refresh()
    kept = service.cache.principal_of("spiffe://keysvc.test/admin")
    assert kept is not None
    assert ADMIN == kept.principal_id
