"""Clients that ask for an hour at a set pace, of every kind of call, and hold each answer to what it must be.

They try nothing again. Each changes keys of a merchant of its own, so every answer is known beforehand.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from support.asking import ask, result_of, slot_of, verify_key, verify_mac
from support.server import Client

from endurance.changes import new_id
from endurance.keys import Key

CALLERS = 8
BATCH = 20
CALLS_A_CONNECTION = 200
"""After which a caller connects anew, and so, now and then, to another worker."""
SCHEME = "STANDARD_WEBHOOKS"
OVERLAP = timedelta(hours=1)
_OWN_CHANNEL = (("grpc.use_local_subchannel_pool", 1),)

Connect = Callable[[], Client]


@dataclass(frozen=True, slots=True)
class Merchant:
    """One whose keys nobody changes."""

    name: str
    mac_key: Key
    api_key: str


def merchant(client: Client, merchant_id: str) -> Merchant:
    """A new one."""
    name = client.active_merchant(merchant_id)
    api_key = ask(client, "CreateCredential", name=slot_of(name, "primary-rest-api-key")).secret.value
    return Merchant(name, _created(client, slot_of(name, "primary-hmac-key")), api_key)


def connection(address: str, credentials: str) -> Connect:
    return lambda: Client(address, credentials, options=_OWN_CHANNEL)


def _created(client: Client, credential: str, method: str = "CreateCredential", **fields: Any) -> Key:
    answer = ask(client, method, name=credential, request_id=new_id(), **fields)
    return Key(credential, answer.credential.version, answer.secret.value)


@dataclass
class Load:
    """What all callers share. Used as a context manager: they call meanwhile."""

    connect: Connect
    merchants: list[Merchant]
    rate: float
    """Steps a second, of all callers together. A step is a call or a few."""
    wrong: list[str] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    _done: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        with self.connect() as client:
            callers = [Caller(self, client.active_merchant(f"own-{n}"), random.Random(n)) for n in range(CALLERS)]
        self._threads = [threading.Thread(target=caller.run) for caller in callers]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def wait(self, seconds: float) -> bool:
        """False once it has ended."""
        return not self._done.wait(max(0.0, seconds))


class Caller:
    """One thread's."""

    def __init__(self, load: Load, own: str, rng: random.Random) -> None:
        self._load = load
        self._own = own
        self._rng = rng
        self._client: Client
        self._key: Key | None = None
        self._kinds: dict[Callable[[], None], int] = {
            self._verify: 40, self._forge: 5, self._batch: 3, self._api_key: 12, self._sign: 10, self._webhook: 8,
            self._encrypt: 4, self._change: 8, self._view: 4, self._list: 2,
        }  # fmt: skip

    def run(self) -> None:
        """Until the load ends. One that is behind its pace makes up for no more than a second."""
        pause = CALLERS / self._load.rate
        due = time.monotonic() + self._rng.random() * pause
        while self._load.wait(due - time.monotonic()):
            with self._load.connect() as self._client:
                for _ in range(CALLS_A_CONNECTION):
                    self._step()
                    due = max(due, time.monotonic() - 1) + pause
                    if not self._load.wait(due - time.monotonic()):
                        return

    def _step(self) -> None:
        [kind] = self._rng.choices(list(self._kinds), list(self._kinds.values()))
        try:
            kind()
        except Exception as error:  # noqa: BLE001 - a thread that dies quietly proves nothing
            self._load.wrong.append(f"{kind.__name__} at {time.strftime('%H:%M:%S')}: {error!r}")
        self._load.steps[kind.__name__] += 1

    def _some(self) -> Merchant:
        return self._rng.choice(self._load.merchants)

    def _verify(self) -> None:
        asked, message = self._some(), self._rng.randbytes(200)
        answer = ask(self._client, "VerifyHmac", name=asked.name, message=message, mac=asked.mac_key.mac(message))
        _same(("VALID", 1, False), (result_of(answer), answer.matched_version, answer.retiring))

    def _forge(self) -> None:
        asked = self._some()
        _same("INVALID", verify_mac(self._client, asked.name, b"m", self._rng.randbytes(32)))
        _same("INVALID", verify_key(self._client, asked.name, self._rng.randbytes(24).hex()))

    def _batch(self) -> None:
        message = self._rng.randbytes(100)
        asked = [self._some() for _ in range(BATCH)]
        macs = [each.mac_key.mac(message) for each in asked[1:]]
        requests = [
            {"name": each.name, "message": message, "mac": mac}
            for each, mac in zip(asked, [self._rng.randbytes(32), *macs], strict=True)
        ]
        answer = ask(self._client, "BatchVerifyHmac", requests=requests)
        _same(["INVALID", *["VALID"] * (BATCH - 1)], [result_of(result.response) for result in answer.results])

    def _api_key(self) -> None:
        asked = self._some()
        _same("VALID", verify_key(self._client, asked.name, asked.api_key))

    def _sign(self) -> None:
        asked, message = self._some(), self._rng.randbytes(50)
        _same(asked.mac_key.mac(message), ask(self._client, "GenerateHmac", name=asked.name, message=message).mac)

    def _webhook(self) -> None:
        asked, event = self._some(), {"scheme": SCHEME, "body": self._rng.randbytes(300)}
        signed = ask(self._client, "SignWebhook", name=asked.name, event_id="event", **event)
        for name, right in ((asked.name, "VALID"), (self._load.merchants[0].name, "INVALID")):
            if right == "VALID" or name != asked.name:
                told = ask(self._client, "VerifyWebhook", name=name, headers=dict(signed.headers), **event)
                _same(right, result_of(told))

    def _encrypt(self) -> None:
        """With a key that was made for it, and is revoked afterwards."""
        slot, plaintext = slot_of(self._own, "encryption-password"), self._rng.randbytes(100)
        _created(self._client, slot)
        sealed = ask(self._client, "Encrypt", name=slot, plaintext=plaintext).ciphertext
        _same(plaintext, ask(self._client, "Decrypt", name=slot, ciphertext=sealed).plaintext)
        ask(self._client, "RevokeCredential", name=slot)

    def _change(self) -> None:
        """A key's next step, and then whether it and the one before it are what they should be."""
        slot, before = slot_of(self._own, "primary-hmac-key"), self._key
        if before is None:
            self._key = _created(self._client, slot)
        elif self._rng.random() < 0.2:
            ask(self._client, "RevokeCredential", name=slot)
            self._key = None
            self._own_answer("NO_LIVE_KEY", before)
        elif self._rng.random() < 0.5:
            self._key = _created(self._client, slot, "RenewCredential")
            self._own_answer("INVALID", before)
        else:
            self._key = _created(self._client, slot, "RenewCredential", previous_ttl=OVERLAP)
            self._own_answer("VALID", before)
            ask(self._client, "RevokeCredential", name=slot, version=before.version)
            self._own_answer("INVALID", before)
        if self._key is not None:
            self._own_answer("VALID", self._key)

    def _own_answer(self, right: str, key: Key) -> None:
        _same(right, verify_mac(self._client, self._own, b"mine", key.mac(b"mine")))

    def _view(self) -> None:
        asked = self._some()
        _same(1, ask(self._client, "GetCredential", name=asked.mac_key.credential).version)
        _same(7, len(ask(self._client, "ListCredentials", parent=asked.name).credentials))

    def _list(self) -> None:
        _same(20, len(ask(self._client, "ListMerchants", page_size=20).merchants))


def _same(right: object, answer: object) -> None:
    if right != answer:
        raise AssertionError(f"{answer!r} in the place of {right!r}")
