"""`keysvc audit`: verify and export beside a running server, and what they say of a record that was tampered with."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from support.asking import ask, slot_of
from support.production import Production
from support.program import assert_refused, environment_of, run, serving
from support.server import PROGRAM, Client, DevServer, FirstStart
from support.waiting import until

from keysvc.model.errors import HsmUnavailable
from keysvc.service.calls import itself, record
from keysvc.store.engine import open_engine
from keysvc.store.store import Store

EVENTS = 7
"""Of a first `dev` start, and `fill`."""


def fill(client: Client) -> None:
    name = slot_of(client.active_merchant("m"), "primary-hmac-key")
    for method in ("CreateCredential", "RenewCredential", "RevokeCredential"):
        ask(client, method, name=name)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """It serves while the commands run, and its record is not touched."""
    server = FirstStart(tmp_path_factory.mktemp("audit") / "home").start()
    with server.client() as client:
        fill(client)
    yield server
    assert 0 == server.stop()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose record is signed to its end."""
    server = FirstStart(tmp_path_factory.mktemp("stopped") / "home").start()
    with server.client() as client:
        fill(client)
    assert 0 == server.stop()
    return server.home


@pytest.fixture
def home(stopped: Path) -> Iterator[Path]:
    """That home with a database to tamper with. SoftHSM's settings name the directory, so it stays where it is."""
    kept = stopped / "kept.db"
    shutil.copyfile(stopped / "keysvc.db", kept)
    yield stopped
    for name in ("keysvc.db-wal", "keysvc.db-shm"):
        (stopped / name).unlink(missing_ok=True)
    kept.replace(stopped / "keysvc.db")


def audit(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("audit", *arguments, "--dev", settings={"KEYSVC_HOME": str(home)})


def tamper(home: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(home / "keysvc.db", timeout=10)) as connection, connection:
        return connection.execute(statement).fetchall()


def everything(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "keysvc.db", timeout=10)) as connection:
        return list(connection.iterdump())


def documented_check(lines: list[str]) -> subprocess.CompletedProcess[str]:
    """The one that docs/audit.md prints for people who have no keysvc, run as it is printed."""
    document = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    program = document.partition("```python\n")[2].partition("```")[0]
    assert "import hashlib, json, sys" in program
    assert "keysvc." not in program
    return subprocess.run(
        [sys.executable, "-c", program], input="\n".join(lines), capture_output=True, text=True, check=False, timeout=20
    )


def test_verify_finds_the_record_of_a_running_server_right(running: DevServer) -> None:
    done = audit(running.home, "verify")
    assert (0, "") == (done.returncode, done.stderr)
    first, *_, last = done.stdout.splitlines()
    assert first.startswith(f"right: {EVENTS} events, from 20")
    assert re.fullmatch(rf"head {EVENTS}:[0-9a-f]{{64}}", last)
    assert "rest on the chain alone" in done.stdout


def test_verify_writes_nothing(running: DevServer) -> None:
    before = everything(running.home), sorted(path.name for path in running.home.rglob("*"))
    assert 0 == audit(running.home, "verify").returncode
    assert before == (everything(running.home), sorted(path.name for path in running.home.rglob("*")))


def test_export_writes_lines_that_anybody_can_check(running: DevServer) -> None:
    done = audit(running.home, "export")
    assert (0, "") == (done.returncode, done.stderr)
    lines = done.stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert list(range(1, EVENTS + 1)) == [event["sequence"] for event in events]
    right = documented_check(lines)
    assert (0, "") == (right.returncode, right.stderr)
    wrong = documented_check([line.replace("merchants/m", "merchants/n") for line in lines])
    assert 1 == wrong.returncode
    assert "AssertionError: 3" in wrong.stderr
    assert ["init", "start"] == [event["method"] for event in events[:2]]


def test_export_to_a_file_is_private_and_goes_on_after_a_sequence(running: DevServer, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text("of yesterday")
    file.chmod(0o644)
    done = audit(running.home, "export", "--output", str(file), "--after", "3")
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert audit(running.home, "export").stdout.splitlines()[3:] == file.read_text().splitlines()
    assert 0o600 == file.stat().st_mode & 0o777
    assert [file] == list(tmp_path.iterdir())


def test_a_head_that_was_noted_is_held_or_told(running: DevServer) -> None:
    lines = audit(running.home, "export").stdout.splitlines()
    held = [f"{event['sequence']}:{event['hash']}" for event in map(json.loads, lines)]
    options = [part for head in (held[0], held[-1]) for part in ("--head", head)]
    assert 0 == audit(running.home, "verify", *options).returncode
    wrong = f"4:{held[4].partition(':')[2]}"
    assert_refused(audit(running.home, "verify", *options, "--head", wrong), "Audit event 4 is not the one of --head")
    beyond = f"1000:{'a' * 64}"
    assert_refused(audit(running.home, "verify", "--head", beyond), f"Audit event {EVENTS + 1} is missing", "1000")


@pytest.mark.parametrize("head", ["", "4:abc", f"-4:{'a' * 64}", f"4:{'A' * 64}"])
def test_a_head_that_is_none_is_refused(running: DevServer, head: str) -> None:
    assert_refused(audit(running.home, "verify", f"--head={head}"), "SEQUENCE:HASH")


TAMPERED = {
    "UPDATE audit_event SET resource = 'merchants/n' WHERE sequence = 3": "Audit event 3 was edited",
    "DELETE FROM audit_event WHERE sequence = 5": "Audit event 5 is missing",
    "DELETE FROM audit_event WHERE sequence = 7": "Audit event 7 is missing",
    "UPDATE audit_event SET time = 'never' WHERE sequence = 2": "audit event 2 cannot be read",
    "UPDATE audit_event SET peer = x'00' WHERE sequence = 2": "Audit event 2 was edited",
    "UPDATE audit_head SET signature = zeroblob(32) WHERE sequence = 7": "signature over audit event 7 is wrong",
    "UPDATE audit_tail SET sequence = 9": "Audit event 8 is missing",
    "DELETE FROM audit_tail": "lost the row that tells its end",
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_verify_names_the_first_wrong_event(home: Path, statement: str) -> None:
    tamper(home, statement)
    assert_refused(audit(home, "verify"), TAMPERED[statement])


def test_a_truncated_end_with_nothing_left_to_tell_of_it_is_told_by_a_head_from_elsewhere(home: Path) -> None:
    """The log's audit.signed line is such a head, and the token's anchor holds one."""
    logged = (home.parent / "home.log").read_text()
    heads = re.findall(r"audit\.signed.*hash=.*?([0-9a-f]{64}).*sequence=.*?(\d+)", logged)
    digest, sequence = heads[-1]
    assert str(EVENTS) == sequence
    for statement in (
        "DELETE FROM audit_event WHERE sequence > 5",
        "UPDATE audit_tail SET sequence = 5, hash = (SELECT hash FROM audit_event WHERE sequence = 5)",
        "DELETE FROM audit_head WHERE sequence > 5",
    ):
        tamper(home, statement)
    assert_refused(audit(home, "verify"), f"lacks its event {EVENTS}", "anchor")
    assert_refused(audit(home, "verify", "--head", f"{sequence}:{digest}"), "Audit event 6 is missing")


def unsigned_events(home: Path, count: int) -> None:
    """What a service writes while its token is away."""

    def away(*_: object) -> NoReturn:
        raise HsmUnavailable("The token does not answer")

    store = Store(open_engine(f"sqlite:///{home / 'keysvc.db'}"), away)
    with store.change() as change:
        for _ in range(count):
            record(change, itself("test"), "", time=datetime.now(UTC))
    store.close()


def test_missing_signatures_are_told_unless_they_are_allowed(home: Path) -> None:
    unsigned_events(home, 100)
    assert "100 events since then rest on the chain alone" in audit(home, "verify").stdout
    unsigned_events(home, 1)
    assert_refused(audit(home, "verify"), "the audit events 8 to 108 have none", "--allow-unsigned")
    allowed = audit(home, "verify", "--allow-unsigned")
    assert (0, "") == (allowed.returncode, allowed.stderr)
    assert "101 events since then rest on the chain alone" in allowed.stdout
    tamper(home, "UPDATE audit_event SET resource = 'merchants/n' WHERE sequence = 108")
    assert_refused(audit(home, "verify", "--allow-unsigned"), "Audit event 108 was edited")


def test_an_export_that_fails_leaves_the_old_file(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text("of yesterday")
    tamper(home, "UPDATE audit_event SET time = 'never' WHERE sequence = 2")
    assert_refused(audit(home, "export", "--output", str(file)), "audit event 2 cannot be read")
    assert "of yesterday" == file.read_text()


def test_a_home_without_a_service_is_not_made_one(tmp_path: Path) -> None:
    for command in ("verify", "export"):
        assert_refused(audit(tmp_path / "none", command), str(tmp_path / "none"), "KEYSVC_HOME")
    assert not (tmp_path / "none").exists()


def test_a_terminal_sees_progress_and_a_file_does_not(running: DevServer, tmp_path: Path) -> None:
    """On stderr alone: what stands on stdout is the answer."""
    leader, follower = pty.openpty()
    with (tmp_path / "stdout").open("wb") as stdout:
        process = subprocess.Popen(
            [str(PROGRAM), "audit", "verify", "--dev"],
            env={**environment_of({"KEYSVC_HOME": str(running.home)}), "TERM": "xterm"},
            stdout=stdout,
            stderr=follower,
        )
        os.close(follower)
        seen = _read_all(leader)
        assert 0 == process.wait(timeout=20)
    assert b"events" in seen
    assert f"{EVENTS}/{EVENTS}".encode() in seen
    assert (tmp_path / "stdout").read_text().startswith("right: ")


def _read_all(terminal: int) -> bytes:
    seen = b""
    while select.select([terminal], [], [], 20)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux tells that the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(terminal)
    return seen


def test_verify_and_export_of_a_service_in_production(tmp_path: Path) -> None:
    """Each init and each start is one event; the end is signed when the service stops."""
    production = Production(tmp_path / "all")
    production.make_all()
    assert 0 == production.initialise().returncode
    with serving("serve", production.settings, tmp_path) as running:
        with Client(running.address, production.admin_credentials.read_text()) as client:
            until(lambda: ask(client, "GetAuditHead").signed_sequence == 3)
            fill(client)
        assert 0 == run("audit", "verify", settings=production.settings).returncode
        assert 0 == running.stop()
        output = running.output.read_text()
    verified = run("audit", "verify", settings=production.settings)
    assert "signed up to event 8" in verified.stdout
    assert "0 events since then" in verified.stdout
    tokenless = {name: production.settings[name] for name in ("KEYSVC_DATABASE_URL",)}
    events = [json.loads(line) for line in run("audit", "export", settings=tokenless).stdout.splitlines()]
    assert [("init", "principals/admin"), ("init", ""), ("start", "")] == [
        (event["method"], event["resource"]) for event in events[:3]
    ]
    logged = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    heads = [(entry["sequence"], entry["hash"]) for entry in logged if entry["event"] == "audit.signed"]
    assert [(n, events[n - 1]["hash"]) for n in (3, 8)] == heads
