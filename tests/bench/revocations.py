"""How long after a revoke returned on one replica the others still have to be asked until all of them refuse its key.

`python -m bench.revocations` in tests/ starts three replicas on PostgreSQL and tells it; on a machine that does
nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from support.asking import ask, result_of, slot_of
from support.outages import stoppable_postgres
from support.replicas import Replica
from support.server import Client

REVOKES = 200
_MESSAGE = b"order 17, 12.50 EUR"
_SLOT = "primary-hmac-key"


def until_refused_everywhere(clients: Sequence[Client], merchant: str, revokes: int) -> list[float]:
    """Seconds from each revoke's answer, on the first replica, to the last replica's first refusal.

    Every replica has used the key before, so that it has something to forget. All are asked at once.
    """
    name = slot_of(merchant, _SLOT)
    with ThreadPoolExecutor(len(clients)) as pool:
        return [_one(clients, name, pool) for _ in range(revokes)]


def _one(clients: Sequence[Client], name: str, pool: ThreadPoolExecutor) -> float:
    secret = bytes.fromhex(ask(clients[0], "CreateCredential", name=name).secret.value)
    question = {"name": name, "message": _MESSAGE, "mac": hmac.new(secret, _MESSAGE, hashlib.sha256).digest()}
    assert ["VALID"] * len(clients) == [result_of(ask(client, "VerifyHmac", **question)) for client in clients]
    ask(clients[0], "RevokeCredential", name=name)
    revoked = time.perf_counter()
    return max(pool.map(lambda client: _refused_at(client, question), clients)) - revoked


def _refused_at(client: Client, question: dict[str, Any]) -> float:
    """When its answer came that the key is not live."""
    while result_of(ask(client, "VerifyHmac", **question)) != "NO_LIVE_KEY":
        pass
    return time.perf_counter()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, stoppable_postgres() as postgres:
        home, url = Path(directory) / "home", postgres.new_database()
        replicas = [Replica(home, name, url) for name in ("a", "b", "c")]
        try:
            clients = [replica.start().client() for replica in replicas]
            seconds = until_refused_everywhere(clients, clients[0].active_merchant("revoked"), REVOKES)
        finally:
            for replica in replicas:
                replica.kill()
    milliseconds = sorted(1000 * each for each in seconds)
    print(
        f"{REVOKES} revokes on 3 replicas, until all refuse: median {median(milliseconds):.1f} ms,"
        f" 99 of 100 within {milliseconds[REVOKES * 99 // 100 - 1]:.1f} ms, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
