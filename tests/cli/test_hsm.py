"""`keysvc hsm`: token keys replaced beside a service that goes on answering."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.asking import ask, result_of, slot_of
from support.outside import key_of, mac_of
from support.program import run_anew
from support.server import DevServer

from cli.walking import invoke, settings_of
from keysvc.store.alone import alone
from keysvc.store.engine import open_engine, sqlite_url

MERCHANTS = 40


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server whose keys these tests replace, with merchants that hold a key of each kind, and two administrators."""
    server = DevServer(tmp_path_factory.mktemp("hsm") / "home").start()
    with server.client() as client:
        for number in range(MERCHANTS):
            merchant = client.active_merchant(f"m{number}")
            for slot in ("primary-hmac-key", "primary-rest-api-key", "encryption-password"):
                ask(client, "CreateCredential", name=slot_of(merchant, slot))
        bob = ask(client, "CreatePrincipal", principal_id="bob", principal={"kind": "ADMIN"})
    descriptor = os.open(server.home / "bob", os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, f"bob:{bob.password}".encode())
    os.close(descriptor)
    yield server
    server.stop()


def hsm(server: DevServer, *arguments: str, who: str = "admin-credentials") -> tuple[int, str, str]:
    """(exit code, output, what it stopped or failed with). As a program beside the service runs it, in this process
    but for what needs the token, which a second SoftHSM of the process would be in the way of."""
    settings = {**settings_of(server), "KEYSVC_CREDENTIALS_FILE": str(server.home / who)}
    if arguments[0].startswith("rotate-"):
        done = run_anew("hsm", *arguments, "--dev", settings=settings)
        return done.returncode, done.stdout, done.stderr
    ended = invoke(settings, "hsm", *arguments)
    return ended.exit_code, ended.output, str(ended.exception or "")


def states(server: DevServer, purpose: str) -> dict[str, str]:
    _, output, _ = hsm(server, "keys")
    lines = [line.split("\t") for line in output.splitlines()]
    return {line[0]: line[1] for line in lines if line[0].startswith(purpose)}


@contextmanager
def verifying(server: DevServer) -> Iterator[list[str]]:
    """Answers of clients that sign and verify meanwhile, and create and renew, and check what they got."""
    answers: list[str] = []
    ended = threading.Event()

    def work(number: int) -> None:
        merchant = f"merchants/m{number}"
        with server.client() as client:
            while not ended.is_set():
                signed = ask(client, "GenerateHmac", name=merchant, message=b"order")
                verdict = ask(client, "VerifyHmac", name=merchant, message=b"order", mac=signed.mac)
                answers.append(result_of(verdict))
                new = ask(client, "RenewCredential", name=slot_of(merchant, "primary-hmac-key"))
                mac = mac_of(key_of(new.secret.value, "HEX"), b"order")
                answers.append(result_of(ask(client, "VerifyHmac", name=merchant, message=b"order", mac=mac)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    yield answers
    ended.set()
    for thread in threads:
        thread.join()


def agreed(server: DevServer, purpose: str) -> None:
    code, _, told = hsm(server, f"rotate-{purpose}-key")
    assert 3 == code
    assert f"{purpose}-2 is asked for: another administrator runs `keysvc hsm approve {purpose}-2`" in told
    code, _, told = hsm(server, "approve", f"{purpose}-2")
    assert 1 == code
    assert "another administrator has to approve it (PERMISSION_DENIED)" in told
    code, output, _ = hsm(server, "approve", f"{purpose}-2", who="bob")
    assert (0, f"approved {purpose}-2: `keysvc hsm rotate-{purpose}-key` carries it out\n") == (code, output)


@pytest.mark.long
@pytest.mark.parametrize("purpose", ["wrapping", "row"])
def test_a_key_is_replaced_while_clients_verify_and_renew(own: DevServer, purpose: str) -> None:
    agreed(own, purpose)
    with verifying(own) as answers:
        code, output, told = hsm(own, f"rotate-{purpose}-key")
    assert (0, "") == (code, told)
    lines = output.splitlines()
    assert f"keysvc-{purpose}-2 makes all that is new from now on" == lines[0]
    assert lines[1].startswith("moved ")
    assert f"destroyed keysvc-{purpose}-1" == lines[2]
    assert {"VALID"} == set(answers)
    assert {f"{purpose}-1": "DESTROYED", f"{purpose}-2": "CURRENT"} == states(own, purpose)
    with own.client() as client:
        for number in range(MERCHANTS):
            signed = ask(client, "GenerateHmac", name=f"merchants/m{number}", message=b"after")
            assert signed.mac


@pytest.mark.long
def test_a_digest_key_waits_for_the_secrets_that_it_digested(own: DevServer) -> None:
    agreed(own, "digest")
    code, output, told = hsm(own, "rotate-digest-key")
    assert 3 == code
    assert "keysvc-digest-2 makes all that is new from now on\n" == output
    assert f"{MERCHANTS + 2} rows hang on keysvc-digest-1, which stays until they are gone: renew" in told
    assert {"digest-1": "RETIRING", "digest-2": "CURRENT"} == states(own, "digest")
    _, output, _ = hsm(own, "keys")
    assert ["digest-1", "RETIRING", str(MERCHANTS + 2), "", ""] in [line.split("\t") for line in output.splitlines()]


@pytest.mark.long
def test_an_audit_key_signs_and_the_one_before_checks(own: DevServer) -> None:
    agreed(own, "audit")
    code, output, told = hsm(own, "rotate-audit-key")
    assert (0, "") == (code, told)
    assert ["keysvc-audit-2 makes all that is new from now on", "the older ones stay, to check what they signed"] == (
        output.splitlines()
    )
    own.stop()
    own.start()
    done = run_anew("audit", "verify", "--dev", settings=settings_of(own))
    assert (0, "") == (done.returncode, done.stderr)


def test_one_run_at_a_time_is_at_work_on_the_tokens_keys(own: DevServer) -> None:
    with alone(open_engine(sqlite_url(own.database)), "keysvc hsm") as held:
        assert held
        code, output, told = hsm(own, "rotate-audit-key")
    assert (3, "") == (code, output)
    assert "keysvc: Another run is at work on the token's keys: let it end\n" == told


def test_what_was_asked_for_is_taken_back(own: DevServer) -> None:
    code, output, _ = hsm(own, "request", "audit")
    assert (0, True) == (code, output.startswith("requested audit-"))
    key = output.split()[1].rstrip(":")
    assert (0, f"withdrew {key}\n") == hsm(own, "withdraw", key)[:2]
    assert key not in states(own, "audit")


def test_a_service_that_starts_anew_has_all_its_keys(own: DevServer) -> None:
    own.stop()
    own.start()
    with own.client() as client:
        assert ask(client, "GenerateHmac", name="merchants/m7", message=b"x").mac
