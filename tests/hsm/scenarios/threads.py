"""Eight threads that sign. Arguments: home; `work` SECONDS, `resets` ROUNDS or `close` SECONDS."""

from __future__ import annotations

import hmac
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from support.softhsm import MODULE_PATH, Tokens, configure
from support.wrapped import adopted

from keysvc.hsm.keys import WrappedKey
from keysvc.hsm.module import Module
from keysvc.hsm.token import Token
from keysvc.model.errors import HsmUnavailable

THREADS, KEYS, CACHE = 8, 40, 8
Outcomes = Counter[str]


def sign(token: Token, keys: list[tuple[bytes, WrappedKey]], chance: random.Random) -> str:
    value, key = chance.choice(keys)
    message = chance.randbytes(chance.randrange(500))
    try:
        mac = token.hmac(key, message)
    except HsmUnavailable:
        return "unavailable"
    return "right" if mac == hmac.digest(value, message, "sha256") else "wrong"


def in_threads(work: Callable[[random.Random], Outcomes]) -> Outcomes:
    """The sum of what `work` counts in each thread. Seeded, so that a failure can be looked for again."""
    with ThreadPoolExecutor(THREADS) as threads:
        counted = list(threads.map(work, [random.Random(seed) for seed in range(THREADS)]))
    return sum(counted, Outcomes({"right": 0, "wrong": 0, "unavailable": 0}))


def work(token: Token, keys: list[tuple[bytes, WrappedKey]], seconds: float) -> dict[str, int]:
    def until_the_end(chance: random.Random) -> Outcomes:
        end, outcomes = time.monotonic() + seconds, Outcomes()
        while time.monotonic() < end:
            outcomes[sign(token, keys, chance)] += 1
        return outcomes

    return {**_plain(in_threads(until_the_end)), "held": len(token._sessions.connection.handles)}


def resets(token: Token, keys: list[tuple[bytes, WrappedKey]], module: Module, rounds: int) -> dict[str, int]:
    total = Outcomes()
    for _ in range(rounds):
        module.reset()
        together = threading.Barrier(THREADS)

        def once(chance: random.Random, together: threading.Barrier = together) -> Outcomes:
            together.wait()
            return Outcomes([sign(token, keys, chance)])

        total.update(in_threads(once))
    return _plain(total)


def close(token: Token, keys: list[tuple[bytes, WrappedKey]], seconds: float) -> dict[str, int]:
    def until_refused(chance: random.Random) -> Outcomes:
        outcomes = Outcomes()
        while not outcomes["unavailable"]:
            outcomes[sign(token, keys, chance)] += 1
        return outcomes

    closer = threading.Timer(seconds, token.close)
    closer.start()
    outcomes = in_threads(until_refused)
    closer.join()
    return _plain(outcomes)


def _plain(outcomes: Outcomes) -> dict[str, int]:
    return {name: outcomes[name] for name in ("right", "wrong", "unavailable")}


def main(home: Path, what: str, amount: str) -> dict[str, int]:
    directory = configure(home)
    tokens = Tokens(Module(MODULE_PATH), directory)
    token = tokens.open(replace(tokens.with_keys(), handle_cache=CACHE))
    values = [bytes([number]) * 32 for number in range(KEYS)]
    keys = [(value, adopted(token, value)) for value in values]
    if what == "close":
        return close(token, keys, float(amount))
    found = work(token, keys, float(amount)) if what == "work" else resets(token, keys, tokens.module, int(amount))
    token.close()
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
