"""`keysvc rotate`: a double run by the program, its options, and what a terminal shows."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
from support.asking import ask
from support.program import environment_of, run
from support.server import PROGRAM, Client, DevServer
from support.waiting import until

from cli.walking import PRIMARY, SECONDARY, HmacKey, created, invoke, plan_for, settings_of, state_of, walk
from keysvc.cli import walk as walk_module
from keysvc.cli.remote import Stopped


def test_a_double_run_in_three_runs_of_the_program(
    server: DevServer, client: Client, merchant: str, tmp_path: Path
) -> None:
    """As a job would do it that is started again now and then, with its output in a log."""
    file = tmp_path / "secret"
    arguments = ("rotate", merchant.removeprefix("merchants/"), "--yes", "--secret-file", str(file))
    old = created(client, merchant)
    assert "VALID" == old.use()

    first = run(*arguments, settings=settings_of(server))
    assert 3 == first.returncode
    assert f"created {merchant}/credentials/{SECONDARY} version 1\n" in first.stdout
    assert f"its secret (HEX) is in {file}\n" in first.stdout
    assert first.stderr.startswith(
        "keysvc: stopped: it is not safe yet to swap the two keys. Nobody has used the newer"
    )
    assert first.stderr.endswith(". Run this again to go on\n")
    assert 0o600 == file.stat().st_mode & 0o777
    new = HmacKey(client, merchant, file.read_text())
    assert ("VALID", True, False) == (new.use(), old.signs(), new.signs())

    second = run(*arguments, settings=settings_of(server))
    assert 3 == second.returncode
    assert f"swapped: {merchant}/credentials/{PRIMARY} is now version 2\n" in second.stdout
    assert re.match(
        rf"keysvc: stopped: it is not safe yet to revoke {SECONDARY}\. Last used at \S+, by principals/admin: move",
        second.stderr,
    )
    assert ("VALID", "VALID", True) == (old.use(), new.use(), new.signs())

    third = run(*arguments, "--unused-hours", "0", "--wait", "10", settings=settings_of(server))
    assert (0, "") == (third.returncode, third.stderr)
    assert third.stdout.endswith(
        f"revoked {SECONDARY}\ndone: {merchant}/credentials/{PRIMARY} version 2 is the only key\n"
    )
    assert ("INVALID", "VALID") == (old.use(), new.use())
    assert file.read_text() not in first.stdout + second.stdout + third.stdout


def test_a_merchant_that_is_not_active_is_told(server: DevServer, client: Client, merchant: str) -> None:
    created(client, merchant)
    ask(client, "SuspendMerchant", name=merchant)
    with pytest.raises(Stopped, match=f"{merchant} is not ACTIVE"):
        walk(server, plan_for(merchant))


def test_no_answer_is_no_agreement(server: DevServer, client: Client, merchant: str) -> None:
    """Standard input is at its end."""
    ended = invoke(settings_of(server), "rotate", merchant, "--secret-file", "secret")
    assert isinstance(ended.exception, Stopped)
    assert "without an answer, before this: create primary-hmac-key. With --yes" in str(ended.exception)
    assert "EMPTY" == state_of(client, merchant, PRIMARY)


def test_an_interrupt_while_it_waits_is_a_stop(
    server: DevServer, client: Client, merchant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_seconds: float) -> NoReturn:
        raise KeyboardInterrupt

    created(client, merchant)
    created(client, merchant, SECONDARY)
    monkeypatch.setattr(walk_module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=interrupted))
    ended = invoke(settings_of(server), "rotate", merchant, "--wait", "60")
    assert isinstance(ended.exception, Stopped)
    assert "stopped. Run this again to go on" == str(ended.exception)


@pytest.mark.parametrize("option", ["--unused-hours", "--wait"])
@pytest.mark.parametrize("value", ["nan", "-1", "much"])
def test_an_option_that_is_no_number_is_refused(server: DevServer, option: str, value: str) -> None:
    ended = invoke(settings_of(server), "rotate", "m", option, value)
    assert 2 == ended.exit_code
    assert option in ended.output


def test_a_terminal_shows_a_table_and_asks_before_each_step(server: DevServer, client: Client, merchant: str) -> None:
    """The secret is shown there, once; `n` stops."""
    old = created(client, merchant)
    old.use()
    terminal = Terminal(server, "rotate", merchant.removeprefix("merchants/"))
    terminal.answer(f"Now create {SECONDARY}? [y/N]:", "y")
    new = HmacKey(client, merchant, terminal.wait_for(r"shown this once: ([0-9a-f]{64})")[1])
    terminal.wait_for(r"callers.*MOVING.*waiting to: swap the two keys")
    terminal.wait_for(rf"{PRIMARY} +│ +1 │ signs, old │ +0\.0 │")  # calls a second, from the second look on
    new.use()
    terminal.answer("Now swap the two keys? [y/N]:", "n")
    assert 3 == terminal.end()
    assert "keysvc: stopped, as you said, before this: swap the two keys. Run this again" in terminal.seen
    assert 1 == len(re.findall(r"[0-9a-f]{64}", terminal.seen))
    assert not new.signs()


class Terminal:
    """A command whose input and output are a terminal."""

    def __init__(self, server: DevServer, *arguments: str) -> None:
        self.seen = ""
        """Without colours and the like."""
        self._leader, follower = pty.openpty()
        self._process = subprocess.Popen(
            [str(PROGRAM), *arguments],
            env={**environment_of(settings_of(server)), "TERM": "xterm", "COLUMNS": "160"},
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str) -> re.Match[str]:
        until(lambda: re.search(pattern, self.seen, re.DOTALL) is not None)
        found = re.search(pattern, self.seen, re.DOTALL)
        assert found is not None
        return found

    def answer(self, question: str, answer: str) -> None:
        self.wait_for(re.escape(question))
        os.write(self._leader, f"{answer}\n".encode())

    def end(self) -> int:
        code = self._process.wait(timeout=20)
        self._reader.join(timeout=20)
        return code

    def _read(self) -> None:
        raw = b""
        while part := self._part():
            raw += part
            self.seen = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", raw.decode(errors="ignore"))
        os.close(self._leader)

    def _part(self) -> bytes:
        try:
            return os.read(self._leader, 65536)
        except OSError:  # how Linux tells that the other side is closed
            return b""
