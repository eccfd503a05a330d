"""`db upgrade`, `init` and `serve` with settings of their own: the way into production, and where it cannot be gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.asking import ask, slot_of, verify_mac
from support.outside import key_of, mac_of
from support.production import Production
from support.program import assert_refused, run, run_anew, serving, serving_anew
from support.server import Client, refusal


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Production:
    """All that `serve` needs. Not to be changed."""
    made = Production(tmp_path_factory.mktemp("ready") / "all")
    made.make_all()
    return made


@pytest.fixture
def blank(tmp_path: Path) -> Production:
    """A token without keys, and no database."""
    made = Production(tmp_path / "blank")
    made.make_token()
    return made


def test_upgrade_init_and_serve_make_a_service_that_does_the_job(blank: Production) -> None:
    upgraded, initialised = blank.upgrade(), blank.initialise()
    assert (0, "", 0, "") == (upgraded.returncode, upgraded.stderr, initialised.returncode, initialised.stderr)
    assert "schema" in upgraded.stdout
    assert 5 == initialised.stdout.count("made token key keysvc-")
    assert f"made principal admin, its credentials in {blank.admin_credentials}" in initialised.stdout
    assert 0o600 == blank.admin_credentials.stat().st_mode & 0o777
    with serving_anew("serve", blank.settings, blank.directory) as running:
        with Client(running.address, blank.admin_credentials.read_text()) as client:
            merchant = client.active_merchant("m")
            name = slot_of(merchant, "primary-hmac-key")
            secret = ask(client, "CreateCredential", name=name).secret.value
        assert 0 == running.stop()
        output = running.output.read_text()
    assert secret not in output
    assert_logs_json(output)
    assert_second_round_keeps_all(blank, merchant, mac_of(key_of(secret, "HEX"), b"m"))


def assert_second_round_keeps_all(production: Production, merchant: str, mac: bytes) -> None:
    """The same again changes nothing that is there."""
    credentials = production.admin_credentials.read_text()
    assert "nothing was missing\n" == production.initialise().stdout
    assert credentials == production.admin_credentials.read_text()
    with serving("serve", production.settings, production.directory) as running:
        with Client(running.address, credentials) as client:
            assert "VALID" == verify_mac(client, merchant, b"m", mac)
        assert 0 == running.stop()


def assert_logs_json(output: str) -> None:
    """A JSON object a line, but for the one that tells the address."""
    logged = [json.loads(line) for line in output.splitlines() if not line.startswith("serving on ")]
    assert len(output.splitlines()) - 1 == len(logged)
    assert "health.changed" in {entry["event"] for entry in logged}


def test_a_lost_administrators_password_is_renewed_and_the_old_one_stops(blank: Production) -> None:
    blank.upgrade()
    blank.initialise()
    lost = blank.admin_credentials.read_text()
    blank.admin_credentials.unlink()
    assert "nothing was missing\n" == blank.initialise().stdout
    to = str(blank.admin_credentials)
    renewed = run_anew("init", "--renew-admin", "--admin-credentials", to, settings=blank.settings)
    done = (renewed.returncode, renewed.stdout)
    assert (0, f"renewed the password of admin, its credentials in {to}\n") == done
    with serving("serve", blank.settings, blank.directory) as running:
        with Client(running.address, lost) as client:
            told = refusal(lambda: client.active_merchant("m"))
        with Client(running.address, blank.admin_credentials.read_text()) as client:
            assert "merchants/m" == client.active_merchant("m")
    assert "UNAUTHENTICATED" == told.reason


def test_serve_without_a_database_says_to_upgrade_it(blank: Production) -> None:
    for done in (run("serve", settings=blank.settings), blank.initialise()):
        assert_refused(done, "keysvc db upgrade")


def test_serve_without_init_says_to_run_it_and_makes_no_keys(blank: Production) -> None:
    blank.upgrade()
    assert_refused(run("serve", settings=blank.settings), "keysvc init")
    assert "made token key keysvc-row-1" in blank.initialise().stdout


def test_serve_with_an_untouched_database_says_to_init_it(ready: Production, tmp_path: Path) -> None:
    settings = {**ready.settings, "KEYSVC_DATABASE_URL": f"sqlite:///{tmp_path / 'other.db'}"}
    assert 0 == run_anew("db", "upgrade", settings=settings).returncode
    assert_refused(run_anew("serve", settings=settings), "keysvc init")


def test_another_tokens_database_is_refused(ready: Production, blank: Production) -> None:
    """Also once the token has keys of the same names: they are not those."""
    settings = {**blank.settings, "KEYSVC_DATABASE_URL": ready.settings["KEYSVC_DATABASE_URL"]}
    for command in ("init", "serve"):
        assert_refused(run(command, settings=settings), "KEYSVC_TOKEN_LABEL", "KEYSVC_DATABASE_URL")


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("KEYSVC_PKCS11_MODULE", "serve"),
        ("KEYSVC_PIN_FILE", "init"),
        ("KEYSVC_DATABASE_URL", "db upgrade"),
    ],
)
def test_a_missing_setting_is_named(ready: Production, missing: str, command: str) -> None:
    """Here in a program that is started from nothing."""
    settings = {name: value for name, value in ready.settings.items() if name != missing}
    assert_refused(run_anew(*command.split(), settings=settings), f"Set {missing}")


@pytest.mark.parametrize(
    ("name", "value", "command"),
    [
        ("KEYSVC_TOKEN_LABEL", "another", "serve"),
        ("KEYSVC_PIN_FILE", "/nowhere/at/all/pin", "serve"),
        ("KEYSVC_PKCS11_MODULE", "/nowhere/at/all/module.so", "init"),
        ("KEYSVC_LISTEN", "0.0.0.0:0", "serve"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(ready: Production, name: str, value: str, command: str) -> None:
    assert_refused(run(command, settings={**ready.settings, name: value}), name, value)


def test_a_database_out_of_reach_is_told_in_one_line(ready: Production) -> None:
    settings = {**ready.settings, "KEYSVC_DATABASE_URL": "postgresql://127.0.0.1:1/keysvc"}
    assert_refused(run("serve", settings=settings), "database")


@pytest.mark.parametrize(("pin", "word"), [("wrong-pin-1234", "PIN"), ("", "empty")], ids=["wrong", "empty"])
def test_a_pin_that_cannot_be_right_is_refused(ready: Production, tmp_path: Path, pin: str, word: str) -> None:
    file = tmp_path / "pin"
    file.touch(mode=0o600)
    file.write_text(pin)
    done = run("serve", settings={**ready.settings, "KEYSVC_PIN_FILE": str(file)})
    assert_refused(done, word, "KEYSVC_PIN_FILE" if pin else str(file))
    assert "" == pin or pin not in done.stderr
