"""The database fails under load, or a replica does while it holds the database's lock: nobody gets a wrong answer.

A call that cannot be answered says so in time, the service recovers by itself, and a change was made wholly, with its
audit event, or not at all.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from bench.load import Question, Target, h2load
from support import healthcheck
from support.asking import ask, request, slot_of
from support.outside import key_of, mac_of
from support.replicas import Replica
from support.server import Client
from support.standby import PORT, Node, new_node
from support.timed import ANSWER_SECONDS, OUT_OF_REACH, Timed, meanwhile, slowest
from support.waiting import until

MESSAGE = b"order 1"
RECOVERY_SECONDS = 5.0
LOCK_SECONDS = 4.0
LONG = os.environ.get("KEYSVC_SOAK") == "1"
HANG_SECONDS = 30.0 if LONG else 3.0
CUTS = 400 if LONG else 20
DONE_BEFORE = "ALREADY_EXISTS REQUEST_ALREADY_DONE"


@dataclass(frozen=True)
class Site:
    """Two replicas on one database."""

    node: Node
    one: Replica
    two: Replica

    def two_is_amid_a_change(self) -> bool:
        """Whether it holds the epoch's lock and says nothing."""
        locks = "pg_locks WHERE relation = 'epoch'::regclass AND mode = 'RowShareLock' AND granted"
        amid = f"application_name = 'two' AND state = 'idle in transaction' AND pid IN (SELECT pid FROM {locks})"
        return bool(self.node.query(f"SELECT 1 FROM pg_stat_activity WHERE {amid}", "keysvc"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("faults")
    with ExitStack() as stack:
        node = stack.enter_context(new_node())
        node.make()
        node.start()
        node.query("CREATE DATABASE keysvc")
        url = f"postgresql://postgres@/keysvc?host={node.directory}&port={PORT}&application_name="
        made = [
            Replica(directory / "home", name, url + name, KEYSVC_METRICS_LISTEN="127.0.0.1:0")
            for name in ("one", "two")
        ]
        for replica in made:
            stack.callback(replica.kill)
            replica.start()
        yield Site(node, *made)
        assert [0, 0] == [replica.stop() for replica in made]


def hung(node: Node) -> None:
    node.hang()
    time.sleep(HANG_SECONDS)
    node.go_on()


def stopped(node: Node) -> None:
    node.crash()
    time.sleep(1.5)  # longer than the health takes to be looked at
    node.start()


def cut(node: Node) -> None:
    """Again and again, every connection at once."""
    for _ in range(CUTS):
        node.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'keysvc'")
        time.sleep(0.02)


@dataclass
class Renewals:
    """One credential's, each with a request_id of its own."""

    call: Timed
    credential: str
    done: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    """Those whose answer was lost, or that were not made."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def renew(self) -> None:
        request_id = "-".join((*self.credential.split("/")[1::2], str(next(self._numbers))))
        told, _ = self.call("RenewCredential", name=self.credential, request_id=request_id)
        (self.done if told.result == "OK" else self.unknown).add(request_id)
        if told.result != "OK":
            time.sleep(0.05)

    def settle(self) -> None:
        """Repeats those that are unknown: what was done says so, and what was not done is done now."""
        for request_id in self.unknown:
            told, _ = self.call("RenewCredential", name=self.credential, request_id=request_id)
            assert told.result in {"OK", DONE_BEFORE}
        self.done |= self.unknown


def filled(client: Client, merchant_id: str) -> dict[str, Any]:
    """A verification that is right, of a new merchant's key."""
    merchant = client.active_merchant(merchant_id)
    made = ask(client, "CreateCredential", name=slot_of(merchant, "primary-hmac-key"))
    return {"name": merchant, "message": MESSAGE, "mac": mac_of(key_of(made.secret.value, "HEX"), MESSAGE)}


@pytest.mark.parametrize("fault", [hung, stopped, cut])
def test_a_fault_of_the_database_is_told_in_time_and_leaves_nothing_half_done(
    site: Site, fault: Callable[[Node], None]
) -> None:
    with site.one.client() as one, site.two.client() as two:
        live, wrong = filled(one, f"live-{fault.__name__}"), {"mac": bytes(32)}
        verify, forge = Timed(one), Timed(one)
        renewals = []
        for number, client in enumerate((one, two, two)):
            merchant = one.active_merchant(f"renewed-{fault.__name__}-{number}")
            ask(one, "CreateCredential", name=slot_of(merchant, "api-password"))
            renewals.append(Renewals(Timed(client), slot_of(merchant, "api-password")))
        health: list[int] = []
        works = [
            *[lambda: verify("VerifyHmac", **live)] * 4,
            lambda: forge("VerifyHmac", **{**live, **wrong}),
            lambda: health.append(healthcheck.check(one.channel)),
            *(each.renew for each in renewals),
        ]
        calls = [verify, forge, *(each.call for each in renewals)]
        with meanwhile(*works):
            until(lambda: all(call.told for call in calls))
            began = time.monotonic()
            fault(site.node)
            ended = time.monotonic()
            until(
                lambda: all({"OK", "VALID", "INVALID"} & {each.result for each in call.since(ended)} for call in calls)
            )
            recovered = time.monotonic() - ended
            until(lambda: health[-1] == healthcheck.SERVING)
        told = [each for call in calls for each in call.told if each.ended > began]
        print(
            f"{fault.__name__}: slowest answer {slowest(told):.2f} s, served again after {recovered:.2f} s, answers"
            f" lost {sum(len(each.unknown) for each in renewals)} of {sum(len(each.done) for each in renewals)}"
        )
        assert {"VALID", OUT_OF_REACH} >= {each.result for each in verify.told}
        assert {"INVALID", OUT_OF_REACH} >= {each.result for each in forge.told}
        assert OUT_OF_REACH in {each.result for each in told}
        assert slowest(told) < ANSWER_SECONDS
        assert recovered < RECOVERY_SECONDS
        assert (fault is cut) or healthcheck.NOT_SERVING in health
        for each in renewals:
            each.settle()
            assert_agrees(one, each)


def assert_agrees(client: Client, renewals: Renewals) -> None:
    """What was done, the credential's version and the audit record."""
    events = [event for event in _recorded(client, renewals.credential) if event.outcome == event.OK]
    assert sorted(renewals.done) == sorted(event.request_id for event in events)
    version = ask(client, "GetCredential", name=renewals.credential).version
    assert list(range(2, version + 1)) == [event.version for event in events]


def _recorded(client: Client, credential: str) -> Iterator[Any]:
    """What came of the changes that had a request_id."""
    fields: dict[str, Any] = {"parent": credential.partition("/credentials/")[0], "page_size": 1000}
    while fields.get("page_token", "more"):
        page = ask(client, "ListAuditEvents", **fields)
        yield from (event for event in page.events if event.resource == credential and event.request_id)
        fields["page_token"] = page.next_page_token


def test_a_replica_that_hangs_amid_a_change_holds_up_nobody_and_uses_nothing_old_afterwards(site: Site) -> None:
    with site.one.client() as one, site.two.client() as two, ThreadPoolExecutor(4) as later:
        ending, live = filled(one, "ending"), filled(one, "live")
        merchant = one.active_merchant("hanging")
        credentials = [slot_of(merchant, slot) for slot in ("api-password", "primary-rest-api-key")]
        for credential in credentials:
            ask(one, "CreateCredential", name=credential)
        renewals = [Renewals(Timed(two), credential) for credential in credentials]
        other, after = Timed(one), Timed(two)
        assert "VALID" == after("VerifyHmac", **ending)[0].result
        with meanwhile(*(each.renew for each in renewals)):
            began = stop_amid_a_change(site)
            try:
                revocation = {"name": slot_of(ending["name"], "primary-hmac-key")}
                until(lambda: other("RevokeCredential", **revocation)[0].result == "OK")
                held_up = time.monotonic() - began
                waiting = [later.submit(after, "VerifyHmac", **each) for each in (ending, live, ending, live)]
                time.sleep(max(0.0, began + HANG_SECONDS - time.monotonic()))
            finally:
                os.kill(site.two.pid, signal.SIGCONT)
            results = [each.result()[0].result for each in waiting]
            went_on = time.monotonic()
            until(lambda: all("OK" in {told.result for told in each.call.since(went_on)} for each in renewals))
        print(f"held up {held_up:.2f} s, slowest answer {slowest(other.told):.2f} s")
        assert ["NO_LIVE_KEY", "VALID"] == [after("VerifyHmac", **each)[0].result for each in (ending, live)]
        # Those that waited were asked before it knew whether the database was there.
        assert {"NO_LIVE_KEY", OUT_OF_REACH} >= set(results[::2])
        assert {"VALID", OUT_OF_REACH} >= set(results[1::2])
        assert 1.0 < held_up < LOCK_SECONDS
        assert slowest(other.told) < ANSWER_SECONDS
        assert 1 <= sum(len(each.unknown) for each in renewals)
        for each in renewals:
            each.settle()
            assert_agrees(one, each)


def stop_amid_a_change(site: Site) -> float:
    """SIGSTOP for the second replica, while it holds the lock. Returns when."""
    for _ in range(100):
        os.kill(site.two.pid, signal.SIGSTOP)
        began = time.monotonic()
        time.sleep(0.01)  # what the database does for it just now comes to its end
        if site.two_is_amid_a_change():
            return began
        os.kill(site.two.pid, signal.SIGCONT)
        time.sleep(0.05)
    raise AssertionError("no change was ever open")


BURSTS = 4
"""Where other tests take the processor from the load, it does not keep 64 calls in flight."""


def test_under_load_calls_share_the_reads_of_the_epoch(site: Site) -> None:
    """64 in flight: a verification costs the database less than a tenth of a read."""
    with site.one.client() as client:
        verify = request("VerifyHmac", **filled(client, "loaded"))
        question = Question(verify.SerializeToString(), client.call("VerifyHmac", verify).SerializeToString())
    target = Target(site.one.address, (site.one.pid,), client.metadata[0][1])
    found = []
    for _ in range(BURSTS):
        before = epoch_reads(site.one)
        burst = h2load(target, question, 64, 1.0)
        found.append((epoch_reads(site.one) - before) / burst.calls)
    print(f"reads of the epoch a verification: {found}")
    assert min(found) < 0.1, "in no burst were there 64 calls at once"


def epoch_reads(replica: Replica) -> float:
    line = [line for line in replica.log.read_text().splitlines() if "metrics.serving" in line][-1]
    address = re.search(r"127\.0\.0\.1:\d+", line)
    assert address is not None
    with urllib.request.urlopen(f"http://{address[0]}/metrics", timeout=20) as answer:
        found = re.search(r"^keysvc_epoch_reads_total (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])
