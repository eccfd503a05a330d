"""docs/backup.md, followed as its reader does: its lines are run as they are printed, beside `keysvc serve`."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.asking import ask, slot_of, verify_mac
from support.outside import key_of, mac_of
from support.postgres import Postgres
from support.preloaded import Loaded
from support.production import Production
from support.program import assert_refused, environment_of, run
from support.server import PROGRAM, START_SECONDS, Client, DevServer
from support.waiting import until

DOCUMENT = (Path(__file__).parents[2] / "docs" / "backup.md").read_text()
MESSAGE = b"m"


def lines_with(word: str) -> str:
    """The one block of the document that holds this word."""
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    (found,) = [block for _, block in blocks if word in block]
    return str(found)


@dataclass(frozen=True)
class Kept(Production):
    """A service whose database may be another than SQLite's, with what its operator backs up."""

    more: dict[str, str] = field(default_factory=dict)
    """Settings, which change where a database is restored elsewhere."""

    @property
    def settings(self) -> dict[str, str]:
        return {**super().settings, **self.more}

    def do(self, word: str, backup: str) -> None:
        """The document's lines with this word, with $BACKUP of this name."""
        directory = self.directory / backup
        directory.mkdir(exist_ok=True)
        named = {
            "BACKUP": str(directory),
            "TOKENS": str(self.directory / "tokens"),
            "DATABASE": str(self.directory / "keysvc.db"),
            "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
        }
        environment = environment_of({**self.settings, **named})
        done = subprocess.run(
            ["sh", "-ec", lines_with(word)], env=environment, capture_output=True, text=True, check=False, timeout=30
        )
        assert (0, "") == (done.returncode, done.stderr)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, settings=self.settings)

    @contextmanager
    def serving(self) -> Iterator[tuple[Loaded, str]]:
        """`keysvc serve`, and its address. Killed at the end if it was not stopped."""
        output = self.directory / f"serve.{time.monotonic_ns()}.output"
        process = Loaded([str(PROGRAM), "serve"], environment_of(self.settings), output, output)
        try:
            until(lambda: output.exists() and "serving on" in output.read_text(), START_SECONDS)
            (address,) = re.findall(r"serving on (\S+)", output.read_text())
            yield process, address
        finally:
            process.kill()

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Of a `keysvc serve` that is stopped in the end."""
        with self.serving() as (process, address):
            with self.client_of(address) as client:
                yield client
            process.send_signal(signal.SIGTERM)
            assert 0 == process.wait(30)

    def client_of(self, address: str) -> Client:
        return Client(address, self.admin_credentials.read_text())


class OnSqlite(Kept):
    def back_up(self, backup: str) -> None:
        self.do("tar -czf", backup)
        self.do("sqlite3", backup)

    def restore(self, backup: str) -> None:
        self.do('cp "$BACKUP/keysvc.db"', backup)


@dataclass(frozen=True)
class OnPostgres(Kept):
    server: Postgres = field(kw_only=True)

    def back_up(self, backup: str) -> None:
        self.do("tar -czf", backup)
        self.do("pg_dump", backup)

    def restore(self, backup: str) -> None:
        self.more["KEYSVC_DATABASE_URL"] = self.server.new_database()
        self.do("pg_restore", backup)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> OnSqlite:
    """All that `serve` needs, to be copied."""
    made = OnSqlite(tmp_path_factory.mktemp("ready") / "all")
    made.make_all()
    return made


@pytest.fixture
def copy(ready: OnSqlite, tmp_path: Path) -> OnSqlite:
    made = OnSqlite(Path(shutil.copytree(ready.directory, tmp_path / "all")))
    configuration = made.directory / "softhsm2.conf"
    configuration.write_text(configuration.read_text().replace(str(ready.directory), str(made.directory)))
    return made


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> OnSqlite | OnPostgres:
    if request.param == "sqlite":
        copied: OnSqlite = request.getfixturevalue("copy")
        return copied
    server: Postgres = request.getfixturevalue("postgres")
    made = OnPostgres(tmp_path / "all", {"KEYSVC_DATABASE_URL": server.new_database()}, server=server)
    made.make_anew()
    return made


def test_a_restored_backup_is_refused_as_older_until_the_newest_is_there_or_the_loss_is_accepted(
    kept: OnSqlite | OnPostgres,
) -> None:
    # A key is made, the backup taken while keysvc serves, and the key revoked after it.
    with kept.client() as client:
        merchant = client.active_merchant("m")
        name = slot_of(merchant, "primary-hmac-key")
        secret = ask(client, "CreateCredential", name=name).secret.value
        mac = mac_of(key_of(secret, "HEX"), MESSAGE)
        kept.back_up("old")
        ask(client, "RevokeCredential", name=name)
        assert "VALID" != verify_mac(client, merchant, MESSAGE, mac)
    kept.back_up("newest")

    # The old database under the token that went on: nothing starts, and all say why.
    kept.restore("old")
    for command in (["serve"], ["init"], ["audit", "verify"]):
        assert_refused(kept.run(*command), "older", "revocations", "newest backup", "keysvc db accept-restored")

    # The newest one serves, and the key is revoked in it.
    kept.restore("newest")
    with kept.client() as client:
        assert "VALID" != verify_mac(client, merchant, MESSAGE, mac)

    # There is no newest one: the loss is accepted, by somebody who says so.
    kept.restore("old")
    assert_refused(kept.run("db", "accept-restored"), "older", "--yes")
    assert_refused(kept.run("serve"), "older")
    accepted = kept.run("db", "accept-restored", "--yes")
    assert (0, "") == (accepted.returncode, accepted.stderr)
    assert re.search(r"lost: what was changed from 20\S+ to 20\S+, and what came after", accepted.stdout)
    assert "nothing to accept" in kept.run("db", "accept-restored").stdout
    with kept.client() as client:
        assert "VALID" == verify_mac(client, merchant, MESSAGE, mac)
        ask(client, "RevokeCredential", name=name)
    kept.do("keysvc audit verify", "old")
    exported = [json.loads(line) for line in kept.run("audit", "export").stdout.splitlines()]
    methods = [event["method"].rpartition("/")[2] for event in exported]
    assert ["accept-restored", "start", "RevokeCredential"] == methods[-3:]


def test_a_lost_token_is_restored_with_a_database_that_is_newer(copy: OnSqlite) -> None:
    """The older token's anchor is lower, and so refuses nothing."""
    copy.back_up("old")
    assert 0 == copy.initialise().returncode
    shutil.rmtree(copy.directory / "tokens")
    copy.do("tar -xzf", "old")
    assert "right: " in copy.run("audit", "verify").stdout


def test_two_replicas_anchor_what_both_have_committed(copy: OnSqlite) -> None:
    copy.more["KEYSVC_ANCHOR_SECONDS"] = "1"
    copy.back_up("old")
    with copy.serving() as (one, first_address), copy.serving() as (other, second_address):
        with copy.client_of(first_address) as first, copy.client_of(second_address) as second:
            first.active_merchant("m")
            second.active_merchant("n")
        before = time_of_anchor(copy)
        until(lambda: time_of_anchor(copy) > before)
        # Neither comes to its clean stop.
        one.kill()
        other.kill()
    assert 0 == copy.run("audit", "verify").returncode
    copy.restore("old")
    assert_refused(copy.run("serve"), "older")


def time_of_anchor(kept: Kept) -> float:
    """When SoftHSM last stored an object in the token, or destroyed one."""
    return max(directory.stat().st_mtime for directory in (kept.directory / "tokens").iterdir())


@pytest.mark.long
def test_a_development_database_that_was_removed_alone_is_told_and_asked_about(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    assert 0 == server.stop()
    for file in server.home.glob("keysvc.db*"):
        file.unlink()
    settings = {"KEYSVC_HOME": str(server.home), "KEYSVC_LISTEN": "127.0.0.1:0"}
    assert_refused(run("dev", settings=settings), "older", "remove KEYSVC_HOME wholly", "--dev")
    assert (1, False) == answered(settings, "n")
    assert_refused(run("dev", settings=settings), "older")
    assert (0, True) == answered(settings, "y")
    server.start()
    with server.client() as client:
        ask(client, "ListMerchants")
    assert 0 == server.stop()


def answered(settings: dict[str, str], answer: str) -> tuple[int, bool]:
    """(exit code, whether it was accepted) of the command in a terminal, where somebody types this."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [str(PROGRAM), "db", "accept-restored", "--dev"],
        env=environment_of(settings), stdin=follower, stdout=subprocess.PIPE, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    seen = b""
    while b"[y/N]" not in seen:
        assert select.select([leader], [], [], 20)[0], seen
        seen += os.read(leader, 65536)
    assert b"must be stopped" in seen
    os.write(leader, f"{answer}\n".encode())
    told, _ = process.communicate(timeout=20)
    os.close(leader)
    return process.returncode, b"accepted: " in told
