"""The database fails over to its standby under two replicas: what was acknowledged stays so, and nothing is guessed."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import healthcheck
from support.asking import slot_of
from support.outside import key_of, mac_of
from support.program import run
from support.replicas import Replica
from support.standby import Node, Pair, running_pair
from support.timed import ANSWER_SECONDS, OUT_OF_REACH, Timed, Told, meanwhile, slowest, unanswered
from support.waiting import until

MESSAGE = b"order 1"
RECOVERY_SECONDS = 5.0


ENDS = (Node.crash, Node.hang) if os.environ.get("KEYSVC_SOAK") == "1" else (Node.crash,)
"""How the primary ends, one after another: each time its standby takes its place."""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with running_pair() as made:
        yield made


@pytest.fixture
def replicas(pair: Pair, tmp_path: Path) -> Iterator[list[Replica]]:
    """Two, on a database of this test's own."""
    database = f"test_{tmp_path.name}"
    pair.primary.query(f"CREATE DATABASE {database}")
    made = [Replica(tmp_path / "home", name, pair.url(database)) for name in ("one", "two")]
    with ExitStack() as stack:
        for replica in made:
            stack.callback(replica.kill)
            replica.start()
        yield made
        assert [0, 0] == [replica.stop() for replica in made]


@dataclass
class Key:
    """A merchant's key, and what a verification with it must say; None where the client was not told."""

    merchant: str
    mac: bytes
    expected: str | None = "VALID"


@dataclass
class Books:
    """What clients were told is so, and every answer that says otherwise."""

    keys: list[Key] = field(default_factory=list)
    wrong: list[tuple[Key, Told]] = field(default_factory=list)

    def make(self, call: Timed, merchant_id: str) -> Key | None:
        """None where one of the calls is refused, after which nobody knows what stands there."""
        merchant = f"merchants/{merchant_id}"
        for method, fields in (
            ("CreateMerchant", {"merchant_id": merchant_id}),
            ("ActivateMerchant", {"name": merchant}),
        ):
            if call(method, **fields)[0].result != "OK":
                return None
        _, made = call("CreateCredential", name=slot_of(merchant, "primary-hmac-key"))
        if made is None:
            return None
        key = Key(merchant, mac_of(key_of(made.secret.value, "HEX"), MESSAGE))
        self.keys.append(key)
        return key

    def revoke(self, call: Timed, key: Key) -> None:
        key.expected = None
        told, _ = call("RevokeCredential", name=slot_of(key.merchant, "primary-hmac-key"))
        if told.result == "OK":
            key.expected = "NO_LIVE_KEY"

    def check(self, call: Timed, key: Key) -> str:
        """A key may end while it is looked at, but comes back never."""
        expected = key.expected
        told, _ = call("VerifyHmac", name=key.merchant, message=MESSAGE, mac=key.mac)
        if expected == key.expected and expected not in (None, told.result) and told.result != OUT_OF_REACH:
            self.wrong.append((key, told))
        return told.result


def changing(books: Books, call: Timed, name: str) -> Callable[[], object]:
    """Makes keys, and revokes every second one."""
    numbers = itertools.count()

    def work() -> None:
        number = next(numbers)
        key = books.make(call, f"{name}-{number}")
        if key and number % 2:
            books.revoke(call, key)

    return work


def checking(books: Books, call: Timed) -> Callable[[], object]:
    chance = random.Random(5)
    return lambda: books.keys and books.check(call, chance.choice(books.keys))


@pytest.mark.long
def test_all_that_was_acknowledged_stands_after_the_standby_took_over(pair: Pair, replicas: list[Replica]) -> None:
    """The primary crashes; in the long form the one that took its place hangs, when its own standby has caught up."""
    books = Books()
    with ExitStack() as stack:
        calls = [Timed(stack.enter_context(replica.client())) for replica in replicas]
        for end in ENDS:
            pair.follow()
            pair.synchronise()
            works = [changing(books, call, f"{end.__name__}-{number}") for number, call in enumerate(calls)]
            works += [checking(books, call) for call in calls]
            with meanwhile(*works):
                ended, recovered = lose_primary(pair, end, books, calls)
            told = [told for call in calls for told in call.told if told.ended > ended]
            worst = slowest(unanswered(told))
            print(f"{end.__name__}: slowest answer {worst:.2f} s, served again {recovered:.2f} s after the promotion")
            assert {"OK", "VALID", "NO_LIVE_KEY", OUT_OF_REACH} == {each.result for each in told}
            assert worst < ANSWER_SECONDS
            assert recovered < RECOVERY_SECONDS
            assert [] == books.wrong
            known = [key for key in books.keys if key.expected]
            assert {"VALID", "NO_LIVE_KEY"} == {key.expected for key in known}
            for call in calls:
                assert [key.expected for key in known] == [books.check(call, key) for key in known]
    assert_record_is_whole(replicas[0])


def lose_primary(pair: Pair, end: Callable[[Node], None], books: Books, calls: list[Timed]) -> tuple[float, float]:
    """Goes on when all calls are answered as before. Returns when it ended, and the seconds from the promotion on."""
    until(lambda: len(books.keys) > 20)
    ended = time.monotonic()
    end(pair.primary)
    until(lambda: all(unanswered(call.since(ended)) for call in calls))
    promoted, before = time.monotonic(), len(books.keys)
    pair.fail_over()
    until(lambda: all(any(told.result == "OK" for told in call.since(promoted)) for call in calls))
    recovered = time.monotonic() - promoted
    until(lambda: len(books.keys) > before + 10)
    return ended, recovered


def assert_record_is_whole(replica: Replica) -> None:
    settings = {"KEYSVC_HOME": str(replica.home), "KEYSVC_DATABASE_URL": replica.url}
    done = run("audit", "verify", "--dev", settings=settings)
    assert 0 == done.returncode, done.stderr


@pytest.mark.long
def test_a_standby_that_lost_commits_is_refused(pair: Pair, replicas: list[Replica]) -> None:
    """Its keys that were revoked would be live again."""
    pair.follow()
    books = Books()
    with ExitStack() as stack:
        clients = [stack.enter_context(replica.client()) for replica in replicas]
        calls = [Timed(client) for client in clients]
        key = books.make(calls[0], "m")
        assert key is not None
        assert ["VALID", "VALID"] == [books.check(call, key) for call in calls]
        pair.fall_behind()
        books.revoke(calls[0], key)
        # The replica that revoked it need not look again to know.
        assert "NO_LIVE_KEY" == books.check(calls[1], key)
        pair.primary.crash()
        promoted = time.monotonic()
        pair.fail_over()
        until(lambda: all(_says_why(replica) for replica in replicas))
        for call, client in zip(calls, clients, strict=True):
            assert {OUT_OF_REACH} == {books.check(call, key) for _ in range(20)}
            assert healthcheck.NOT_SERVING == healthcheck.check(client.channel)
            assert slowest(call.since(promoted)) < ANSWER_SECONDS
        assert OUT_OF_REACH == calls[0]("CreateMerchant", merchant_id="n")[0].result
        assert [] == books.wrong


@pytest.mark.long
def test_nothing_is_remembered_of_a_primary_whose_commits_were_lost(pair: Pair, replicas: list[Replica]) -> None:
    """A replica may come back to a database that has counted past what it has seen, by another way."""
    pair.follow()
    books = Books()
    first, second = replicas
    with first.client() as client, second.client() as other:
        call, late = Timed(client), Timed(other)
        key = books.make(call, "m")
        assert key is not None
        assert "VALID" == books.check(late, key)
        with stopped(first):
            pair.fall_behind()
            for number in range(3):
                late("CreateMerchant", merchant_id=f"lost-{number}")
            assert "VALID" == books.check(late, key)
            with stopped(second):
                pair.primary.crash()
                pair.fail_over()
                os.kill(first.pid, signal.SIGCONT)
                until(lambda: books.check(call, key) == "VALID")
                books.revoke(call, key)
                assert "NO_LIVE_KEY" == key.expected
                for number in range(4):
                    call("CreateMerchant", merchant_id=f"new-{number}")
        until(lambda: books.check(late, key) != OUT_OF_REACH or _says_why(second))
        assert books.check(late, key) in {"NO_LIVE_KEY", OUT_OF_REACH}
        assert [] == books.wrong


@contextmanager
def stopped(replica: Replica) -> Iterator[None]:
    os.kill(replica.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(replica.pid, signal.SIGCONT)


def _says_why(replica: Replica) -> bool:
    return "epoch" in replica.log.read_text()
