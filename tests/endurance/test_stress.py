"""Sixteen threads on one server with far more keys than it may hold in the token: no crash, no wrong answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from support.server import DevServer

from endurance import load
from endurance.conftest import Sizes
from endurance.history import Changed, Event, Refused, Signed, SignedByAll, Verified
from endurance.judge import Judge
from endurance.logs import trouble_in
from endurance.recorder import SteadyClock

THREADS = 16
MERCHANTS = 3
HANDLES = 2
"""Of six HMAC slots: keys are unwrapped and destroyed all the time, while other threads sign with them."""


def test_no_answer_is_wrong_while_keys_change_under_sixteen_threads(tmp_path: Path, sizes: Sizes) -> None:
    server = DevServer(tmp_path / "home", KEYSVC_HANDLE_CACHE=str(HANDLES)).start()
    try:
        with server.client() as client:
            merchants = [client.active_merchant(f"stress-{number}") for number in range(MERCHANTS)]
            clock = SteadyClock()
            history = load.run(client, merchants, THREADS, sizes.stress_seconds, seed=1)
    finally:
        exit_code = server.stop()
    assert 0 == exit_code
    assert not clock.was_set()
    assert [] == Judge(history).faults()
    assert [] == trouble_in(server)
    seen = Counter(map(_sort_of, history))
    print(f"{len(history)} calls: {dict(seen)}")
    assert set() == _ALL_SORTS - set(seen)


def _sort_of(event: Event) -> str:
    match event:
        case Verified():
            retiring = "retiring " if event.answer.retiring else ""
            return f"{retiring}{event.answer.result}"
        case Changed():
            return event.method
        case Signed() | SignedByAll():
            return "signed"
        case Refused():
            return event.reason
        case _:
            return type(event).__name__


_ALL_SORTS = {
    "VALID", "retiring VALID", "INVALID", "NO_LIVE_KEY", "signed", "SLOT_EMPTY", "SLOT_OCCUPIED",
    "CreateCredential", "RenewCredential", "RevokeCredential",
}  # fmt: skip
"""What a run that proves anything has met."""
