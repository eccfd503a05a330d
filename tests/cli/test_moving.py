"""`keysvc import` and `keysvc export`, as an operator runs them: beside a service that serves on, and after a kill."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import secrets
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endurance.vault import Vault
from support.asking import ask, slot_of, verify_key, verify_mac
from support.outside import mac_of, seal
from support.program import assert_refused, environment_of, run
from support.server import PROGRAM, DevServer
from support.waiting import until

from cli.walking import settings_of

HMAC = "primary-hmac-key"
KEY, OTHER = secrets.token_hex(32), secrets.token_hex(32)
PASSWORD = secrets.token_hex(16).upper()
BEARER = secrets.token_urlsafe(24)
SEALED = secrets.token_bytes(32)
MISPLACED = secrets.token_hex(24) + "!"
MANY = 1500

Report = list[dict[str, Any]]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    server = DevServer(tmp_path_factory.mktemp("moving") / "home").start()
    with server.client() as client:
        ask(client, "CreatePrincipal", principal_id="PSP_42", principal={"kind": "PSP"})
    yield server
    server.stop()


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def moved(server: DevServer, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run("import", *map(str, arguments), "--dev", settings=settings_of(server))


def reported(path: Path) -> Report:
    assert 0 == path.stat().st_mode & 0o077
    return [json.loads(line) for line in path.read_text().splitlines()]


def watching() -> Vault:
    vault = Vault()
    vault.watch("secret", KEY, OTHER, PASSWORD, BEARER, MISPLACED)
    vault.watch("key", bytes.fromhex(KEY), bytes.fromhex(OTHER), bytes.fromhex(PASSWORD), SEALED)
    return vault


def test_merchants_move_in_beside_a_service_that_verifies_with_their_keys_at_once(
    own: DevServer, tmp_path: Path
) -> None:
    with own.client() as client:
        sealed = base64.b64encode(seal(ask(client, "GetImportKey").public_key, SEALED)).decode()
        file = private(
            tmp_path / "merchants.csv",
            "merchant_id,display_name,psp,slot,secret,sealed_secret\n"
            f"a,Shop A,PSP_42,{HMAC},{KEY},\n"
            f"a,,,api-password,{PASSWORD},\n"
            f"b,Shop B,,{HMAC},,{sealed}\n"
            f"c,Shop C,,{MISPLACED},{KEY},\n"
            f"d,Shop D,,primary-rest-api-key,{BEARER},\n"
            f'e,"{KEY}\n'
            "f,Shop F,,,,\n",
        )
        report = tmp_path / "merchants.csv.report.jsonl"
        done = moved(own, file)
        assert (3, "") == (done.returncode, done.stdout)
        assert f"keysvc: 5 created, 0 already there, 2 refused: {report} says why\n" == done.stderr
        first = reported(report)
        assert [(5, "REFUSED", "INVALID_FIELD"), (7, "REFUSED", "INVALID_FIELD")] == [
            (line["line"], line["result"], line["reason"]) for line in first if line["result"] != "CREATED"
        ]
        assert {"line": 2, "merchant_id": "a", "slot": HMAC, "result": "CREATED", "version": 1} == first[0]
        assert ["VALID", "VALID", "VALID", "VALID", "INVALID"] == [
            verify_mac(client, "merchants/a", b"m", mac_of(bytes.fromhex(KEY), b"m")),
            verify_key(client, slot_of("merchants/a", "api-password"), PASSWORD),
            verify_mac(client, "merchants/b", b"m", mac_of(SEALED, b"m")),
            verify_key(client, "merchants/d", BEARER),
            verify_mac(client, "merchants/b", b"m", mac_of(bytes.fromhex(KEY), b"m")),
        ]
        assert "principals/PSP_42" == ask(client, "GetMerchant", name="merchants/a").psp
        # The slot that was refused is filled, one is renewed in the service; then the file comes again, as JSON.
        ask(client, "RenewCredential", name=slot_of("merchants/a", HMAC))
        again = [
            {"merchant_id": "a", "slot": HMAC, "secret": KEY},
            {"merchant_id": "b", "slot": HMAC, "sealed_secret": sealed},
            {"merchant_id": "c", "display_name": "Shop C", "slot": HMAC, "secret": OTHER},
            {"merchant_id": "d", "slot": "primary-rest-api-key", "secret": BEARER},
        ]
        file = private(tmp_path / "again.jsonl", "\n".join(map(json.dumps, again)))
        report = tmp_path / "report.csv"
        done = moved(own, file, "--report", report)
        assert (3, f"keysvc: 1 created, 2 already there, 1 refused: {report} says why\n") == (
            done.returncode,
            done.stderr,
        )
        rows = list(csv.DictReader(io.StringIO(report.read_text())))
        assert ["SLOT_OCCUPIED", "", "", ""] == [row["reason"] for row in rows]
        assert "INVALID" == verify_mac(client, "merchants/a", b"m", mac_of(bytes.fromhex(KEY), b"m"))
        assert "VALID" == verify_mac(client, "merchants/c", b"m", mac_of(bytes.fromhex(OTHER), b"m"))
    assert 2 < len(watching().found_under(tmp_path.glob("merchants.csv")))
    assert [] == watching().found_under([*tmp_path.glob("*report*"), own.log, *own.home.glob("keysvc.db*")])
    assert "right: " in run("audit", "verify", "--dev", settings=settings_of(own)).stdout


def test_what_is_exported_tells_everything_but_keys(own: DevServer, tmp_path: Path) -> None:
    with own.client() as client:
        merchant = client.active_merchant("exported")
        ask(client, "CreateCredential", name=slot_of(merchant, HMAC))
        renewed = ask(client, "RenewCredential", name=slot_of(merchant, HMAC), previous_ttl={"seconds": 600})
        signed = ask(client, "GenerateHmac", name=merchant, message=b"m")
        made = ask(client, "CreateToken", parent=merchant, token_id="t1")
        client.active_merchant("exported-empty")
        until(lambda: ask(client, "GetCredential", name=slot_of(merchant, HMAC)).HasField("last_used_time"))
    output = tmp_path / "all.csv"
    done = run("export", "--dev", "--output", str(output), settings=settings_of(own))
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert 0 == output.stat().st_mode & 0o077
    rows = [row for row in csv.DictReader(io.StringIO(output.read_text())) if row["merchant_id"].startswith("exported")]
    assert [
        (HMAC, "", "ACTIVE", "2"), (HMAC, "", "RETIRING", "1"), ("", "t1", "", ""), ("", "", "", ""),
    ] == [(row["slot"], row["token"], row["slot_state"], row["version"]) for row in rows]  # fmt: skip
    assert renewed.credential.fingerprint == rows[0]["fingerprint"]
    lines = run("export", "--dev", settings=settings_of(own)).stdout.splitlines()
    exported = [row for row in map(json.loads, lines) if row["merchant_id"].startswith("exported")]
    assert [{name: value for name, value in row.items() if value} for row in rows][2:] == exported[2:]
    used = [json.loads(line).get("last_used_time") for line in lines if f'"{renewed.credential.fingerprint}"' in line]
    assert 1 == len(used)
    vault = watching()
    vault.watch("shown", renewed.secret.value, bytes.fromhex(renewed.secret.value), made.secret, signed.mac)
    with sqlite3.connect(own.database) as database:
        vault.watch("stored", *(row[0] for row in database.execute("SELECT material FROM credential_key")))
    assert [] == vault.found_in(output.read_bytes() + "\n".join(lines).encode())


def test_a_run_that_was_killed_is_taken_up_and_nothing_is_half_done(own: DevServer, tmp_path: Path) -> None:
    keys = {f"k{number}": secrets.token_hex(32) for number in range(MANY)}
    lines = [f"{merchant},{HMAC},{key}" for merchant, key in keys.items()]
    file = private(tmp_path / "many.csv", "\n".join(["merchant_id,slot,secret", *lines]))
    environment = environment_of(settings_of(own))
    process = subprocess.Popen([str(PROGRAM), "import", str(file), "--dev"], env=environment, stderr=subprocess.PIPE)

    def count(query: str) -> int:
        with sqlite3.connect(own.database) as database:
            return int(database.execute(query).fetchone()[0])

    is_there = "SELECT count(*) FROM merchant WHERE merchant_id LIKE 'k%'"
    until(lambda: count(is_there) > 0, 60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    merchants = count(is_there)
    assert 0 < merchants < MANY
    assert not (tmp_path / "many.csv.report.jsonl").exists()
    for table in ("credential", "credential_key"):
        assert merchants == count(f"SELECT count(*) FROM {table} WHERE merchant_id LIKE 'k%'")
    assert 2 * merchants == count("SELECT count(*) FROM audit_event WHERE resource LIKE 'merchants/k%'")
    with own.client() as client:  # changes of the service have their turn meanwhile
        ask(client, "CreateCredential", name=slot_of(client.active_merchant("beside"), HMAC))
    done = moved(own, file)
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith(f"{MANY - merchants} created, {merchants} already there, none refused; ")
    assert MANY == count(is_there)
    assert 2 * MANY == count("SELECT count(*) FROM audit_event WHERE resource LIKE 'merchants/k%'")
    with own.client() as client:
        for merchant in ("k0", f"k{merchants}", f"k{MANY - 1}"):
            mac = mac_of(bytes.fromhex(keys[merchant]), b"m")
            assert "VALID" == verify_mac(client, f"merchants/{merchant}", b"m", mac)


def test_what_cannot_be_begun_is_refused_in_one_line(own: DevServer, tmp_path: Path) -> None:
    shown = private(tmp_path / "shown.csv", f"merchant_id,slot,secret\nshown,{HMAC},{KEY}\n")
    shown.chmod(0o640)
    assert_refused(moved(own, shown), "shown.csv holds a secret in plain in line 2", "chmod 600")
    headless = private(tmp_path / "headless.csv", f"{KEY},{OTHER}\n")
    assert_refused(moved(own, headless), "Line 1 is no header")
    assert_refused(moved(own, tmp_path / "nowhere.csv"), "Cannot read", "nowhere.csv")
    assert_refused(moved(own, "-"), "--report")
    assert_refused(run("import", str(headless), settings=settings_of(own)), "KEYSVC_DATABASE_URL", "give --dev")
    assert_refused(moved(own, private(tmp_path / "empty.csv", "")), "Nothing moves in")
    assert_refused(moved(own, headless, "--report", headless), "is the file that moves in")
    assert [] == [path.name for path in tmp_path.iterdir() if "report" in path.name]
    with sqlite3.connect(own.database) as database:
        assert [] == database.execute("SELECT * FROM merchant WHERE merchant_id = 'shown'").fetchall()


def test_a_pipe_leaves_no_file_with_secrets(own: DevServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(PROGRAM), "import", "-", "--dev", "--report", str(tmp_path / "report.jsonl")],
        input=f"merchant_id,slot,secret\npiped,{HMAC},{KEY}\n", env=environment_of(settings_of(own)),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    assert ["CREATED"] == [line["result"] for line in reported(tmp_path / "report.jsonl")]
    assert os.listdir(tmp_path) == ["report.jsonl"]
