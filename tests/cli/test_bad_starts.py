"""`keysvc dev` where it cannot start: one line that says what to do, exit code not 0, no traceback."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.program import MODULE_PATH, assert_refused, run, run_anew
from support.server import DevServer


@pytest.fixture(scope="module")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that served once. Take a copy."""
    server = DevServer(tmp_path_factory.mktemp("used") / "home").start()
    assert 0 == server.stop()
    return server.home


@pytest.fixture
def home(used_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(used_home, tmp_path / "home"))


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def settings_of(home: Path, **more: str) -> dict[str, str]:
    return {"KEYSVC_HOME": str(home), "KEYSVC_LISTEN": "127.0.0.1:0", **more}


def test_a_wrong_pin(home: Path) -> None:
    (home / "pin").write_text("not the PIN of this token")
    assert_refused(run("dev", settings=settings_of(home)), "PIN", "'keysvc'", "KEYSVC_PIN_FILE")


def test_a_pin_that_others_can_read(home: Path) -> None:
    (home / "pin").chmod(0o640)
    assert_refused(run("dev", settings=settings_of(home)), str(home / "pin"), "chmod 600")


def test_a_lost_pin(home: Path) -> None:
    (home / "pin").unlink()
    assert_refused(run("dev", settings=settings_of(home)), str(home / "pin"))
    assert not (home / "pin").exists()


def test_a_missing_token(home: Path) -> None:
    done = run("dev", settings=settings_of(home, KEYSVC_TOKEN_LABEL="another"))
    assert_refused(done, "'another'", "KEYSVC_TOKEN_LABEL")


def test_another_tokens_database(home: Path) -> None:
    shutil.rmtree(home / "tokens")
    assert_refused(run("dev", settings=settings_of(home)), "KEYSVC_TOKEN_LABEL", "KEYSVC_DATABASE_URL")


def test_a_missing_module(tmp_path: Path) -> None:
    missing = str(tmp_path / "libmissing.so")
    done = run("dev", settings=settings_of(tmp_path / "home", KEYSVC_PKCS11_MODULE=missing))
    assert_refused(done, missing, "KEYSVC_PKCS11_MODULE")


def test_a_module_that_is_none(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("no library\n")
    library = next(Path("/lib").glob("*/libm.so.6"))
    for module in (text, library):
        done = run("dev", settings=settings_of(tmp_path / "home", KEYSVC_PKCS11_MODULE=str(module)))
        assert_refused(done, str(module))


def test_a_home_that_is_a_file_or_below_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for home in (file, file / "home"):
        assert_refused(run("dev", settings=settings_of(home)), str(file), "KEYSVC_HOME")


def test_a_home_that_cannot_be_written_to(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    # root may write anywhere unless that capability is taken away.
    prefix = ("setpriv", "--bounding-set", "-dac_override") if os.getuid() == 0 else ()
    assert_refused(run_anew("dev", settings=settings_of(locked), prefix=prefix), str(locked), "KEYSVC_HOME")


def test_a_taken_port(home: Path, taken_port: int) -> None:
    done = run("dev", settings=settings_of(home, KEYSVC_LISTEN=f"127.0.0.1:{taken_port}"))
    assert_refused(done, f"127.0.0.1:{taken_port}", "KEYSVC_LISTEN")


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1", "127.0.0.1:99999", "unix:/nowhere/at/all/socket"])
def test_an_address_that_is_none(home: Path, listen: str) -> None:
    """gRPC would take port 443 where there is none, and the last 16 bits of one that is too large."""
    assert_refused(run("dev", settings=settings_of(home, KEYSVC_LISTEN=listen)), listen, "KEYSVC_LISTEN")


def test_an_address_beyond_this_machine(home: Path) -> None:
    """Calls are not encrypted, and carry passwords."""
    assert_refused(run("dev", settings=settings_of(home, KEYSVC_LISTEN="0.0.0.0:0")), "0.0.0.0:0", "KEYSVC_LISTEN")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://127.0.0.1/keysvc", "KEYSVC_DATABASE_URL"),
        ("sqlite:////nowhere/at/all/keysvc.db", "database"),
    ],
)
def test_a_database_that_is_none(home: Path, url: str, word: str) -> None:
    assert_refused(run("dev", settings=settings_of(home, KEYSVC_DATABASE_URL=url)), word)


def test_a_number_that_is_none(tmp_path: Path) -> None:
    assert_refused(run("dev", settings=settings_of(tmp_path / "home", KEYSVC_THREADS="many")), "KEYSVC_THREADS")


def test_a_file_that_is_no_database(home: Path) -> None:
    (home / "keysvc.db").write_bytes(b"not a database " * 1000)
    assert_refused(run("dev", settings=settings_of(home)), "database")


def test_after_a_refusal_the_home_serves_as_before(home: Path, taken_port: int) -> None:
    before = (home / "admin-credentials").read_text()
    run("dev", settings=settings_of(home, KEYSVC_LISTEN=f"127.0.0.1:{taken_port}"))
    server = DevServer(home, KEYSVC_PKCS11_MODULE=str(MODULE_PATH)).start()
    assert before == (home / "admin-credentials").read_text()
    assert 0 == server.stop()
