"""Clients that go on asking while something is broken under keysvc, and hold every answer to what it may be."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import grpc

from support.asking import ask, slot_of, verify_mac
from support.outside import key_of, mac_of
from support.server import Client, DevServer, Refusal

MESSAGE = b"order 1"
ANSWER_SECONDS = 2.0
VERIFIERS = 4

R = TypeVar("R")


class Merchant:
    """An active one with an HMAC key, and the secrets that were shown of it."""

    def __init__(self, client: Client, merchant_id: str) -> None:
        self.name = client.active_merchant(merchant_id)
        self.secrets = [ask(client, "CreateCredential", name=slot_of(self.name, "primary-hmac-key")).secret.value]
        self.mac = mac_of(key_of(self.secrets[0], "HEX"), MESSAGE)
        self.wrong_mac = bytes([self.mac[0] ^ 1]) + self.mac[1:]


class Askers:
    """Some verify, one changes a slot of its own, one views. Begin with `with`; `wrong` is what must not have been."""

    def __init__(self, server: DevServer, merchant: Merchant) -> None:
        self.merchant = merchant
        self.answers: Counter[str] = Counter()
        self.changed = 0
        self.wrong: list[str] = []
        self.slowest = 0.0
        self._slot = slot_of(merchant.name, "secondary-hmac-key")
        self._clients = [server.client() for _ in range(3)]
        self._done = threading.Event()
        verify, change, view = self._clients
        work: list[Callable[[], None]] = [lambda: self._verify(verify)] * VERIFIERS
        work += [lambda: self._change(change), lambda: self._view(view)]
        self._threads = [threading.Thread(target=self._go_on, args=(step,), daemon=True) for step in work]

    def __enter__(self) -> Askers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(30)
        for client in self._clients:
            client.close()

    def _go_on(self, step: Callable[[], None]) -> None:
        while not self._done.is_set():
            try:
                step()
            except Exception as error:  # noqa: BLE001 - a thread that dies quietly proves nothing
                self.wrong.append(f"{step}: {error!r}")
                return
            self._done.wait(0.01)

    def _verify(self, client: Client) -> None:
        for mac, right in ((self.merchant.mac, "VALID"), (self.merchant.wrong_mac, "INVALID")):
            self._ask(right, lambda mac=mac: verify_mac(client, self.merchant.name, MESSAGE, mac))  # type: ignore[misc]

    def _change(self, client: Client) -> None:
        """Creates, then renews. What is refused must have changed nothing."""
        method = "RenewCredential" if self.changed else "CreateCredential"
        with suppress(_Unavailable):
            answer = self._answer(lambda: ask(client, method, name=self._slot))
            self.merchant.secrets.append(answer.secret.value)
            self.changed += 1
        version = ask(client, "GetCredential", name=self._slot).version
        if version != self.changed:
            self.wrong.append(f"version {version} after {self.changed} changes were answered")

    def _view(self, client: Client) -> None:
        """It is answered whatever the token does."""
        count = len(ask(client, "ListCredentials", parent=self.merchant.name).credentials)
        if count != 7:
            self.wrong.append(f"{count} slots")

    def _ask(self, right: str, question: Callable[[], str]) -> None:
        with suppress(_Unavailable):
            answer = self._answer(question)
            self.answers[answer] += 1
            if answer != right:
                self.wrong.append(f"{answer} in the place of {right}")

    def _answer(self, question: Callable[[], R]) -> R:
        """Raises _Unavailable, and notes every other refusal."""
        begin = time.monotonic()
        try:
            return question()
        except grpc.RpcError as error:
            told = Refusal(error)
            self.answers[told.reason] += 1
            if (grpc.StatusCode.UNAVAILABLE, "HSM_UNAVAILABLE") != (told.code, told.reason) or not told.retry:
                self.wrong.append(f"{told.code} {told.message}")
            raise _Unavailable from None
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begin)


class _Unavailable(Exception):
    """The token's half is out of reach, which was told in time and with a reason."""
