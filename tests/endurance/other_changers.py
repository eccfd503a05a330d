"""Clients like `Changer`, of a merchant's Lib Lite tokens and of a principal's password."""

from __future__ import annotations

import base64
import random
import threading
from typing import Any, Protocol

import grpc
from support.methods import message_of, path_of
from support.server import Client, Refusal, refusal

ENDED_SECRETS = 5
"""How many secrets that ended are still presented after later kills."""
_MAX_LIVE = 15


class Changes(Protocol):
    """A client that changes until the server dies. Its calls follow each other."""

    def run(self, client: Client, killed: threading.Event) -> int:
        """Returns how many calls were answered. Raises what a living server refuses."""

    def settle(self, client: Client) -> str:
        """What became of the call in flight: `done`, `not done` (then it is done now), or `answered`."""

    def compare(self, client: Client) -> None:
        """Asserts that the server has what was answered, and nothing else."""


class _Repeater:
    """One pending call at a time, each with a request_id of its own."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._calls = 0
        self._pending: tuple[str, Any] | None = None

    def run(self, client: Client, killed: threading.Event) -> int:
        answered = 0
        while True:
            self._calls += 1
            method, fields = self._choose()
            request = message_of(path_of(method), fields | {"request_id": f"{self._label}-{self._calls}"})
            self._pending = (method, request)
            try:
                answer = client.call(method, request)
            except grpc.RpcError as error:
                if killed.is_set() and not Refusal(error).reason:
                    return answered
                raise
            self._take(method, request, answer)
            self._pending = None
            answered += 1

    def settle(self, client: Client) -> str:
        if self._pending is None:
            return "answered"
        method, request = self._pending
        if not self._happened(client, method, request):
            self._take(method, request, client.call(method, request))
            return "not done"
        self._take(method, request, None)
        assert "REQUEST_ALREADY_DONE" == refusal(lambda: client.call(method, request)).reason
        return "done"

    def _choose(self) -> tuple[str, dict[str, Any]]:
        raise NotImplementedError

    def _happened(self, client: Client, method: str, request: Any, /) -> bool:
        raise NotImplementedError

    def _take(self, method: str, request: Any, answer: Any, /) -> None:
        """`answer` is None where it was lost: whatever secret was in it, nobody knows."""
        raise NotImplementedError


class TokenChanger(_Repeater):
    """Creates and revokes tokens of one merchant."""

    def __init__(self, merchant: str, rng: random.Random) -> None:
        super().__init__(f"{merchant.partition('/')[2]}-tokens")
        self._merchant = merchant
        self._rng = rng
        self._live: dict[str, str] = {}
        self._ended: list[str] = []

    def compare(self, client: Client) -> None:
        assert set(self._live) == self._listed(client)
        for name, secret in self._live.items():
            if secret:
                assert ("VALID", name) == self._verified(client, secret)
        for secret in self._ended:
            assert self._verified(client, secret) in {("INVALID", ""), ("NO_LIVE_KEY", "")}
        del self._ended[:-ENDED_SECRETS]

    def _choose(self) -> tuple[str, dict[str, Any]]:
        if self._live and (len(self._live) >= _MAX_LIVE or self._rng.random() < 0.4):
            return "RevokeToken", {"name": self._rng.choice(list(self._live))}
        return "CreateToken", {"parent": self._merchant, "token_id": f"t-{self._calls}"}

    def _happened(self, client: Client, method: str, request: Any, /) -> bool:
        listed = self._listed(client)
        return _name_of(request) not in listed if method == "RevokeToken" else _name_of(request) in listed

    def _take(self, method: str, request: Any, answer: Any, /) -> None:
        if method == "CreateToken":
            self._live[_name_of(request)] = answer.secret if answer else ""
        elif secret := self._live.pop(request.name):
            self._ended.append(secret)

    def _listed(self, client: Client) -> set[str]:
        answer = client.call("ListTokens", message_of(path_of("ListTokens"), {"parent": self._merchant}))
        return {token.name for token in answer.tokens}

    def _verified(self, client: Client, secret: str) -> tuple[str, str]:
        request = message_of(path_of("VerifyToken"), {"name": self._merchant, "secret": secret})
        answer = client.call("VerifyToken", request)
        return answer.Result.Name(answer.result), answer.matched_token


class PasswordChanger(_Repeater):
    """Renews one principal's password."""

    def __init__(self, client: Client, principal_id: str) -> None:
        super().__init__(principal_id)
        self._id = principal_id
        self._name = f"principals/{principal_id}"
        fields = {"principal_id": principal_id, "principal": {"kind": "PSP"}}
        made = client.call("CreatePrincipal", message_of(path_of("CreatePrincipal"), fields))
        self._password: str = made.password
        self._etag: str = made.principal.etag
        self._ended: list[str] = []

    def compare(self, client: Client) -> None:
        assert self._etag == self._shown(client)
        assert not self._password or self._lets_in(client, self._password)
        assert [] == [ended for ended in self._ended if self._lets_in(client, ended)]
        del self._ended[:-ENDED_SECRETS]

    def _choose(self) -> tuple[str, dict[str, Any]]:
        return "RenewPrincipalPassword", {"name": self._name}

    def _happened(self, client: Client, _method: str, _request: Any, /) -> bool:
        return self._shown(client) != self._etag

    def _take(self, _method: str, _request: Any, answer: Any, /) -> None:
        if self._password:
            self._ended.append(self._password)
        self._password = answer.password if answer else ""
        self._etag = answer.principal.etag if answer else str(int(self._etag) + 1)

    def _shown(self, client: Client) -> str:
        answer = client.call("GetPrincipal", message_of(path_of("GetPrincipal"), {"name": self._name}))
        return str(answer.etag)

    def _lets_in(self, client: Client, password: str) -> bool:
        header = f"Basic {base64.b64encode(f'{self._id}:{password}'.encode()).decode()}"
        request = message_of(path_of("ListMerchants"), {})
        try:
            client.call("ListMerchants", request, (("authorization", header),))
        except grpc.RpcError as error:
            if Refusal(error).reason != "UNAUTHENTICATED":
                raise
            return False
        return True


def _name_of(request: Any) -> str:
    name = getattr(request, "name", "")
    return name or f"{request.parent}/tokens/{request.token_id}"
