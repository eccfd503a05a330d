"""The network between a replica and the database is cut: it answers nothing, in time, and the others go on.

The replica and the database run in network namespaces of their own. A second replica reaches the database by a Unix
socket, as clients reach the replicas, so the cut is theirs alone.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from typing import Any

import pytest
from support import healthcheck
from support.asking import ask, slot_of
from support.network import Link, new_link
from support.outside import key_of, mac_of
from support.replicas import Replica
from support.server import Client
from support.standby import PORT, Node, new_node
from support.timed import ANSWER_SECONDS, OUT_OF_REACH, Timed, Told, meanwhile, slowest
from support.waiting import until

MESSAGE = b"order 1"
RECOVERY_SECONDS = 5.0
UNWELL_SECONDS = 4.0
LOCK_SECONDS = 4.0
"""How long one replica's cut may hold up the changes of another."""
CUT_SECONDS = 30.0 if os.environ.get("KEYSVC_SOAK") == "1" else 4.0
CUTS = {
    "both-ways": ("to-database", "to-replica"),
    "to-the-database": ("to-database",),
    "to-the-replica": ("to-replica",),
}


@dataclass(frozen=True)
class Site:
    """Two replicas; the link is between the first of them and the database."""

    link: Link
    node: Node
    far: Replica
    near: Replica

    def far_change_is_open(self) -> bool:
        """Whether a change of the far replica holds the epoch's lock."""
        locks = "pg_locks WHERE relation = 'epoch'::regclass AND mode = 'RowShareLock' AND granted"
        holders = f"pid IN (SELECT pid FROM {locks})"
        open_changes = f"SELECT 1 FROM pg_stat_activity WHERE client_addr IS NOT NULL AND {holders}"
        return bool(self.node.query(open_changes, "keysvc"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("cuts")
    with ExitStack() as stack:
        link = stack.enter_context(new_link())
        node = stack.enter_context(new_node(link.database.inside, link.database.address))
        node.make()
        node.start()
        node.query("CREATE DATABASE keysvc")
        home, sockets = directory / "home", {name: f"unix:{node.directory}/{name}" for name in ("near", "far")}
        urls = {
            "near": f"postgresql://postgres@/keysvc?host={node.directory}&port={PORT}",
            "far": f"postgresql://postgres@{link.database.address}:{PORT}/keysvc",
        }
        near = Replica(home, "near", urls["near"], KEYSVC_LISTEN=sockets["near"])
        far = Replica(home, "far", urls["far"], link.replica.inside, KEYSVC_LISTEN=sockets["far"])
        for replica in (near, far):
            stack.callback(replica.kill)
            replica.start()
        yield Site(link, node, far, near)
        link.heal()
        assert [0, 0] == [far.stop(), near.stop()]


@dataclass(frozen=True)
class Calls:
    """Those that go on while the link is cut: two verifications of the far replica, and changes of both."""

    live: Timed
    ending: Timed
    """With a key that is revoked meanwhile."""
    far_changes: Timed
    near_changes: Timed

    def far(self) -> list[Told]:
        return [*self.live.told, *self.ending.told, *self.far_changes.told]


@pytest.fixture
def calls(site: Site) -> Iterator[Calls]:
    with site.far.client() as far, site.near.client() as near:
        yield Calls(Timed(far), Timed(far), Timed(far), Timed(near))
        site.link.heal()


def filled(client: Client, merchant_id: str) -> dict[str, Any]:
    """A verification that is right, of a new merchant's key."""
    merchant = client.active_merchant(merchant_id)
    made = ask(client, "CreateCredential", name=slot_of(merchant, "primary-hmac-key"))
    return {"name": merchant, "message": MESSAGE, "mac": mac_of(key_of(made.secret.value, "HEX"), MESSAGE)}


def changing(call: Timed, prefix: str) -> Callable[[], object]:
    numbers = itertools.count()
    return lambda: call("CreateMerchant", merchant_id=f"{prefix}-{next(numbers)}")


@pytest.mark.long
@pytest.mark.parametrize("cut", CUTS)
def test_a_replica_that_is_cut_off_answers_nothing_and_the_others_go_on(site: Site, calls: Calls, cut: str) -> None:
    client, near = calls.live.client, calls.near_changes
    live, ending = filled(client, f"live-{cut}"), filled(client, f"ending-{cut}")
    health: list[tuple[float, bool]] = []
    works = [
        lambda: calls.live("VerifyHmac", **live),
        lambda: calls.ending("VerifyHmac", **ending),
        lambda: health.append((time.monotonic(), healthcheck.SERVING == healthcheck.check(client.channel))),
        changing(near, f"near-{cut}"),
        *(changing(calls.far_changes, f"far-{number}-{cut}") for number in range(3)),
    ]
    with meanwhile(*works):
        until(lambda: all(has(call, result) for call, result in ((calls.live, "VALID"), (calls.ending, "VALID"))))
        began = cut_amid_a_change(site, CUTS[cut])
        revocation = {"name": slot_of(ending["name"], "primary-hmac-key")}
        until(lambda: near("RevokeCredential", **revocation)[0].result == "OK")
        revoked = time.monotonic()
        time.sleep(max(0.0, began + CUT_SECONDS - time.monotonic()))
        healed = time.monotonic()
        site.link.heal()
        until(lambda: has(calls.live, "VALID", healed) and has(calls.far_changes, "OK", healed))
        recovered = time.monotonic() - healed
        until(lambda: has(calls.ending, "NO_LIVE_KEY", healed) and health[-1][1])
    touched = [told for told in calls.far() if told.ended > began and told.began < healed]
    unwell = min((instant for instant, serving in health if instant > began and not serving), default=inf) - began
    print(
        f"{cut}: slowest answer {slowest(touched):.2f} s, NOT_SERVING after {unwell:.2f} s, served again after"
        f" {recovered:.2f} s; other replica: slowest {slowest(near.since(began)):.2f} s, held up"
        f" {revoked - began:.2f} s"
    )
    assert {OUT_OF_REACH} == {told.result for told in touched if told.began > began and told.ended < healed}
    assert slowest(touched) < ANSWER_SECONDS
    assert "VALID" not in {told.result for told in calls.ending.since(revoked)}
    assert unwell < UNWELL_SECONDS
    assert recovered < RECOVERY_SECONDS
    assert revoked - began < LOCK_SECONDS
    assert slowest(near.since(began)) < ANSWER_SECONDS
    while_cut = [told for told in near.since(revoked) if told.ended < healed]
    assert {"OK"} == {told.result for told in while_cut}, "the cut replica holds nothing any more"


def has(call: Timed, result: str, since: float = 0.0) -> bool:
    return any(told.result == result for told in call.since(since))


def cut_amid_a_change(site: Site, ways: tuple[str, ...]) -> float:
    """Cuts while a change of the replica holds the epoch's lock. Returns when."""
    for _ in range(20):
        site.link.cut(ways)
        began = time.monotonic()
        if site.far_change_is_open():
            return began
        site.link.heal()
        time.sleep(0.3)
    raise AssertionError("no change was ever open")
