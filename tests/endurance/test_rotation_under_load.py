"""Keys are rotated again and again under eight clients: no rightful call is refused, and no ended key is accepted."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from support.server import DevServer

from endurance import counted, rotation_load
from endurance.conftest import Sizes
from endurance.history import Changed, Event, Refused, Signed, SignedByAll, Verified
from endurance.judge import Judge
from endurance.logs import trouble_in
from endurance.recorder import SteadyClock

CLIENTS = 8
ROTATORS = 2
MERCHANTS = 3
ENOUGH = 50
WRITTEN = 2.0
"""Seconds after which every use is written down, as the contract says."""


def test_a_rotation_under_load_refuses_no_live_key_and_accepts_no_ended_one(tmp_path: Path, sizes: Sizes) -> None:
    server = DevServer(tmp_path / "home").start()
    try:
        with server.client() as client:
            merchants = [client.active_merchant(f"rotated-{number}") for number in range(MERCHANTS)]
            clock = SteadyClock()
            history = rotation_load.run(client, merchants, CLIENTS, ROTATORS, sizes.rotation_seconds, seed=1)
            assert not clock.was_set()
            time.sleep(WRITTEN)
            told = counted.told(client, history, merchants)
    finally:
        exit_code = server.stop()
    assert 0 == exit_code
    judge, seen = Judge(history), Counter(map(_sort_of, history))
    rightful, late = judge.rightful(), judge.late()
    print(f"{len(history)} calls, {rightful} rightful, {late} of an ended key: {dict(seen)}")
    assert [] == judge.faults()
    assert [] == trouble_in(server)
    used = counted.used(history)
    assert {place: used[place] for place in told} == told
    # What a run that proves anything has met.
    assert min(rightful, late, sum(told.values())) >= ENOUGH
    assert set() == _ALL_SORTS - set(seen)


def _sort_of(event: Event) -> str:
    match event:
        case Verified():
            retiring = "retiring " if event.answer.retiring else ""
            return f"{retiring}{event.answer.result}"
        case Changed():
            return event.method
        case Signed():
            return "signed"
        case SignedByAll():
            return "signed by several" if len(event.signers) > 1 else "signed by one"
        case Refused():
            return f"{event.method}: {event.reason}"
        case _:
            return type(event).__name__


_ALL_SORTS = {
    "VALID", "retiring VALID", "INVALID", "signed", "signed by several",
    "CreateCredential", "RenewCredential", "RevokeCredential", "RevokeCredential of one version", "SwapCredentials",
}  # fmt: skip
