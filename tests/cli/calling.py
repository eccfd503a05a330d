"""Callers that never try again what failed: each call's end is seen as it was."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from support.asking import ask, request, slot_of
from support.methods import path_of
from support.outside import key_of, mac_of
from support.server import Client
from support.waiting import until

from keysvc.v1 import credential_service_pb2 as pb

CALL_SECONDS = 20.0
RECONNECT_SECONDS = 0.3
"""At most so long after an address was lost it is tried again."""
PAUSE_SECONDS = 0.003
"""Between two calls of a caller: there are several, and those that are called need the processor too."""
_OPTIONS = [
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
    ("grpc.initial_reconnect_backoff_ms", int(RECONNECT_SECONDS * 1000)),
    ("grpc.max_reconnect_backoff_ms", int(RECONNECT_SECONDS * 1000)),
]


class Calling:
    """Verifications on connections that stay, verifications on a new connection each, and changes, until told to end.

    `target` is gRPC's: it may have several addresses. Used as a context manager.
    """

    def __init__(self, target: str, admin: Client, merchant_id: str) -> None:
        self._target, self._metadata = target, admin.metadata
        merchant = admin.active_merchant(merchant_id)
        name = slot_of(merchant, "primary-hmac-key")
        secret = ask(admin, "CreateCredential", name=name).secret.value
        self._question = request("VerifyHmac", name=merchant, message=b"m", mac=mac_of(key_of(secret, "HEX"), b"m"))
        self._merchant_id = merchant_id
        self._done = threading.Event()
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        kinds = [self._staying] * 6 + [self._coming_anew] * 4 + [self._changing]
        self._threads = [threading.Thread(target=kind) for kind in kinds]

    def __enter__(self) -> Calling:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, calls: int, kind: str) -> None:
        """Until so many more of a kind were answered."""
        aim = self.answered[kind] + calls
        until(lambda: self.answered[kind] >= aim, CALL_SECONDS)

    def wait_for_failures(self, calls: int) -> None:
        """Until so many of any kind have failed."""
        until(lambda: self.failed.total() >= calls)

    def _staying(self) -> None:
        with grpc.insecure_channel(self._target, _OPTIONS) as channel:
            while not self._done.wait(PAUSE_SECONDS):
                self._call("staying", lambda: self._verify(channel))

    def _coming_anew(self) -> None:
        while not self._done.wait(PAUSE_SECONDS):
            with grpc.insecure_channel(self._target, _OPTIONS) as channel:
                self._call("anew", lambda: self._verify(channel))

    def _changing(self) -> None:
        with grpc.insecure_channel(self._target, _OPTIONS) as channel:
            for number in itertools.count():
                if self._done.wait(0.02):
                    return
                new = request("CreateMerchant", merchant_id=f"{self._merchant_id}-{number}")
                self._call("changing", partial(self._ask, channel, "CreateMerchant", new))

    def _verify(self, channel: grpc.Channel) -> None:
        answer = pb.VerifyHmacResponse.FromString(self._ask(channel, "VerifyHmac", self._question))
        assert pb.VerifyHmacResponse.VALID == answer.result

    def _ask(self, channel: grpc.Channel, method: str, message: Any) -> bytes:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path_of(method))
        answer: bytes = call(message.SerializeToString(), metadata=self._metadata, timeout=CALL_SECONDS)
        return answer

    def _call(self, kind: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except grpc.RpcError as error:
            self.failed[f"{kind}: {error.code().name} {error.details()}"] += 1
        else:
            self.answered[kind] += 1
