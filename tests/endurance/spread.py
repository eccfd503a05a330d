"""Clients of several replicas that stand for each other: each call goes to any of them."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from support.server import Client

PATIENCE = 4.0
"""Seconds after which a client gives up: a replica that is stopped says nothing at all."""
HASTE = (0.02, 0.2)
"""Seconds after which one in a hurry does: between those, a change is done or not, and its answer is lost."""
_PAUSE = 0.02
_RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 200),
]

Metadata = tuple[tuple[str, str], ...]


class ReplicaClient(Client):
    """Of one replica, which may die and come back."""

    def __init__(self, address: str, credentials: str) -> None:
        super().__init__(address, credentials, options=_RECONNECT)

    def call(self, method: str, request: Any, metadata: Metadata | None = None, patience: float = PATIENCE) -> Any:
        try:
            return self._methods[method](request, metadata=metadata or self.metadata, timeout=patience)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                time.sleep(_PAUSE)  # a replica that is dead refuses as fast as it is asked
            raise


@dataclass(frozen=True)
class Spread:
    """One thread's."""

    clients: Sequence[ReplicaClient]
    rng: random.Random

    def call(self, method: str, request: Any, metadata: Metadata | None = None) -> Any:
        return self.rng.choice(self.clients).call(method, request, metadata)


class Hasty(Spread):
    """Gives up so soon that it often does not learn what became of its call."""

    def call(self, method: str, request: Any, metadata: Metadata | None = None) -> Any:
        return self.rng.choice(self.clients).call(method, request, metadata, self.rng.uniform(*HASTE))
