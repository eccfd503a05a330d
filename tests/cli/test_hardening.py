"""What keeps secrets from core dumps, other users, arguments and the environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.production import Production
from support.program import Running, assert_refused, run, serving, serving_anew

LISTEN = {"KEYSVC_LISTEN": "127.0.0.1:0", "KEYSVC_MTLS_LISTEN": "127.0.0.1:0"}
SECRET = "correct-horse-battery"
_DUMPABLE_AFTER = """
import ctypes, sys
from keysvc.cli import main
libc = ctypes.CDLL(None)
before = libc.prctl(3, 0, 0, 0, 0)
sys.argv = ["keysvc", *sys.argv[1:]]
try:
    main.run()
except SystemExit:
    print("dumpable", before, libc.prctl(3, 0, 0, 0, 0))
"""
"""PR_GET_DUMPABLE is 3 (prctl(2))."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A `keysvc dev --tls`, its home in `var` beside its output."""
    with serving_anew("dev --tls", LISTEN, tmp_path_factory.mktemp("dev")) as served:
        yield served
        assert 0 == served.stop()


@pytest.fixture(scope="module")
def home(running: Running) -> Path:
    return running.output.parent / "var"


@pytest.fixture
def production(tmp_path: Path) -> Production:
    made = Production(tmp_path / "all")
    made.make_all()
    return made


def modes(paths: list[Path]) -> dict[str, int]:
    return {str(path): path.stat().st_mode & 0o777 for path in paths}


@pytest.mark.parametrize("arguments", [["--help"], ["dev", "--help"], ["serve"], ["init"], ["db", "upgrade"]])
def test_every_command_is_undumpable_from_its_entry(tmp_path: Path, arguments: list[str]) -> None:
    """However it ends: here with no settings to begin with."""
    done = subprocess.run(
        [sys.executable, "-c", _DUMPABLE_AFTER, *arguments],
        env={"PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "dumpable 1 0" == done.stdout.splitlines()[-1]


def test_a_server_writes_no_core(running: Running) -> None:
    lines = Path(f"/proc/{running.process.pid}/limits").read_text().splitlines()
    [core] = [line for line in lines if line.startswith("Max core file size")]
    assert ["0", "0"] == core.split()[4:6]


def test_no_secret_is_an_argument_or_in_the_environment(running: Running, home: Path) -> None:
    secrets = [(home / "pin").read_bytes(), (home / "admin-credentials").read_bytes().removeprefix(b"admin:")]
    for name in ("cmdline", "environ"):
        told = Path(f"/proc/{running.process.pid}/{name}").read_bytes()
        assert len(told) > 0
        assert [] == [secret for secret in secrets if secret in told]


def test_nothing_of_a_running_home_is_open_to_others(home: Path) -> None:
    """Certificates, and what SQLite and the token keep beside their files, included."""
    paths = [home, *home.rglob("*")]
    assert {"pin", "admin-credentials", "keysvc.db", "keysvc.db-wal", "server.key", "token.object"} <= {
        path.name for path in paths
    }
    assert {str(path): 0o700 if path.is_dir() else 0o600 for path in paths} == modes(paths)


def test_what_production_writes_is_not_open_to_others(production: Production) -> None:
    with serving("serve", production.settings, production.directory) as served:
        written = [*production.directory.glob("keysvc.db*"), production.admin_credentials]
        assert {"keysvc.db", "keysvc.db-wal", "keysvc.db-shm", "admin-credentials"} == {path.name for path in written}
        assert dict.fromkeys(map(str, written), 0o600) == modes(written)
        assert 0 == served.stop()


@pytest.mark.parametrize("used", [False, True], ids=["an empty one", "a used one"])
def test_a_home_that_others_can_enter_is_closed_to_them(home: Path, tmp_path: Path, used: bool) -> None:
    opened = tmp_path / "var"
    opened.mkdir()
    if used:
        shutil.copy2(home / "pin", opened / "pin")
    opened.chmod(0o755)
    with serving("dev", {"KEYSVC_LISTEN": "127.0.0.1:0"}, tmp_path) as served:
        assert 0o700 == opened.stat().st_mode & 0o777
        assert 0 == served.stop()


def test_a_directory_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    """KEYSVC_HOME=/ would lock everybody out."""
    (tmp_path / "somebody's").touch()
    tmp_path.chmod(0o755)
    for home in (tmp_path, link_to(tmp_path, tmp_path / "link")):
        assert_refused(run("dev", settings={"KEYSVC_HOME": str(home)}), str(home), "chmod 700", "KEYSVC_HOME")
    assert 0o755 == tmp_path.stat().st_mode & 0o777
    assert {"somebody's", "link"} == {path.name for path in tmp_path.iterdir()}


def link_to(target: Path, link: Path) -> Path:
    link.symlink_to(target)
    return link


def test_a_link_to_the_pin_counts_as_the_file_that_it_leads_to(production: Production, tmp_path: Path) -> None:
    pin, link = production.directory / "pin", tmp_path / "link"
    link.symlink_to(link_to(pin, tmp_path / "between"))
    settings = {**production.settings, "KEYSVC_PIN_FILE": str(link)}
    for mode in (0o640, 0o604, 0o610, 0o602):
        pin.chmod(mode)
        assert_refused(run("serve", settings=settings), str(link), "chmod 600")
    pin.chmod(0o400)
    with serving("serve", settings, production.directory) as served:
        assert 0 == served.stop()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://keysvc:{SECRET}@127.0.0.1:1/keysvc",
        f"postgresql+psycopg://keysvc:{SECRET}@127.0.0.1:1/keysvc",
        f"postgresql://:{SECRET}@127.0.0.1:1/keysvc",
        f"postgresql://keysvc:{SECRET}/with/slashes@127.0.0.1:1/keysvc",
        f"postgresql://keysvc@127.0.0.1:1/keysvc?connect_timeout=1&password={SECRET}",
        f"postgresql://keysvc@127.0.0.1:1/keysvc?p%61ssword={SECRET}",
        f"postgresql://keysvc@127.0.0.1:1/keysvc?sslkey=/k&sslpassword={SECRET}",
    ],
)
@pytest.mark.parametrize("command", ["serve", "db upgrade"])
def test_a_password_in_the_databases_url_is_refused_and_not_repeated(
    production_settings: dict[str, str], url: str, command: str
) -> None:
    done = run(*command.split(), settings={**production_settings, "KEYSVC_DATABASE_URL": url})
    assert_refused(done, "KEYSVC_DATABASE_URL", "PGPASSFILE")
    assert SECRET not in done.stderr


@pytest.fixture(scope="module")
def production_settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With a PIN file and no more: a URL is looked at before anything is opened."""
    made = Production(tmp_path_factory.mktemp("settings"))
    (made.directory / "pin").touch(mode=0o600)
    return made.settings


def test_a_password_in_libpqs_own_variable_is_refused(production_settings: dict[str, str]) -> None:
    settings = {**production_settings, "PGPASSWORD": SECRET}
    url = "postgresql://keysvc@127.0.0.1:1/keysvc"
    done = run("db", "upgrade", settings={**settings, "KEYSVC_DATABASE_URL": url})
    assert_refused(done, "PGPASSWORD", "PGPASSFILE")
    assert SECRET not in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://keysvc@127.0.0.1:1/keysvc",
        "postgresql://127.0.0.1:1/keysvc?user=keysvc&passfile=/nowhere",
        "postgresql://127.0.0.1:1/keysvc",
    ],
)
def test_a_url_without_a_password_goes_on_to_the_database(production_settings: dict[str, str], url: str) -> None:
    done = run("db", "upgrade", settings={**production_settings, "KEYSVC_DATABASE_URL": url})
    assert_refused(done, "The database does not answer")
