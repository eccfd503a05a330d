"""How long after a revoke on one replica the others still have to be asked until all of them refuse its key."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from support.asking import ask, result_of, slot_of
from support.server import Client

_MESSAGE = b"order 17, 12.50 EUR"
_SLOT = "primary-hmac-key"


@dataclass(frozen=True, slots=True)
class Revoked:
    """Seconds until the last replica's first refusal came."""

    since_call: float
    """Of the revoke: its own time counts too."""
    since_answer: float


def until_refused_everywhere(clients: Sequence[Client], merchant: str, revokes: int) -> list[Revoked]:
    """Keys made and revoked on the first replica, one after another.

    Every replica has used the key before, so that it has something to forget. All are asked at once.
    """
    name = slot_of(merchant, _SLOT)
    with ThreadPoolExecutor(len(clients)) as pool:
        return [_one(clients, name, pool) for _ in range(revokes)]


def _one(clients: Sequence[Client], name: str, pool: ThreadPoolExecutor) -> Revoked:
    secret = bytes.fromhex(ask(clients[0], "CreateCredential", name=name).secret.value)
    question = {"name": name, "message": _MESSAGE, "mac": hmac.new(secret, _MESSAGE, hashlib.sha256).digest()}
    assert ["VALID"] * len(clients) == [result_of(ask(client, "VerifyHmac", **question)) for client in clients]
    called = time.perf_counter()
    ask(clients[0], "RevokeCredential", name=name)
    answered = time.perf_counter()
    refused = max(pool.map(lambda client: _refused_at(client, question), clients))
    return Revoked(refused - called, refused - answered)


def _refused_at(client: Client, question: dict[str, Any]) -> float:
    """When its answer came that the key is not live."""
    while result_of(ask(client, "VerifyHmac", **question)) != "NO_LIVE_KEY":
        pass
    return time.perf_counter()
