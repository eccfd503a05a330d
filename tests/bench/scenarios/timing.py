"""E: whether time tells what an answer does not: an unknown merchant from another's, an unknown caller from a wrong
password. Questions of both kinds are asked in turns, in an order that is drawn anew for each pair."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.message_factory import GetMessageClass
from support.methods import METHODS, message_of, path_of
from support.waiting import code_of

from bench.cores import Cores
from bench.figures import Overlap, Plan, Series, Steps
from bench.load import Target
from bench.questions import merchant_id, read_merchants
from bench.servers import keysvc

SECTION = "E"
_SEED = 7
_MANY = "1000000000"
"""Failures a minute: the limits are not what is measured."""
_CALL_SECONDS = 20.0

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """One kind of question. Each is asked with a new name, so that nothing is remembered of the one before."""

    label: str
    method: str
    fields: Callable[[int], dict[str, Any]]
    headers: Callable[[int], Headers]
    code: grpc.StatusCode


class Callers:
    """A PSP, a SERVICE, and one that signs JWTs; the first merchants of the bench are theirs, the others are not."""

    def __init__(self, target: Target, channel: grpc.Channel) -> None:
        self._target = target
        self._channel = channel
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._forger = ec.generate_private_key(ec.SECP256R1())
        pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        self.psp = self._add("psp", kind="PSP", can_edit_credentials=True)
        self.service = self._add("service", kind="SERVICE", merchants=["merchants/listed"])
        self._add("signer", kind="PSP", jwt_public_keys=[pem])
        self.admin: Headers = target.metadata
        self._ask("CreateMerchant", merchant_id="listed")
        self._ask("ActivateMerchant", name="merchants/listed")
        self._ask("CreateToken", parent="merchants/listed", token_id="known")

    def basic(self, principal: str) -> Callable[[int], Headers]:
        """A wrong password of its own for each call."""
        return lambda number: _authorization("Basic", f"{principal}:{number:032X}")

    def bearer(self, principal: str) -> Callable[[int], Headers]:
        """A JWT that nobody's key signed."""

        def headers(number: int) -> Headers:
            now = int(time.time())
            claims = {"sub": principal, "aud": "keysvc", "iat": now, "exp": now + 60, "jti": f"{now}-{number}"}
            return (("authorization", f"Bearer {jwt.encode(claims, self._forger, 'ES256')}"),)

        return headers

    def time_of(self, ask: Ask, number: int) -> float:
        """Seconds. Raises AssertionError where the answer is not the one that both kinds get."""
        path = path_of(ask.method)
        raw = message_of(path, ask.fields(number)).SerializeToString()
        call: Any = self._channel.unary_unary(path)
        headers = ask.headers(number)
        begin = time.perf_counter()
        code = code_of(lambda: call(raw, metadata=headers, timeout=_CALL_SECONDS))
        taken = time.perf_counter() - begin
        assert code is ask.code, f"{ask.label} ended with {code}"
        return taken

    def _add(self, principal: str, **fields: Any) -> Callable[[int], Headers]:
        password = self._ask("CreatePrincipal", principal_id=principal, principal=fields).password
        headers = _authorization("Basic", f"{principal}:{password}")
        return lambda _number: headers

    def _ask(self, method: str, **fields: Any) -> Any:
        path = path_of(method)
        call: Any = self._channel.unary_unary(path)
        raw = call(message_of(path, fields).SerializeToString(), metadata=self._target.metadata, timeout=_CALL_SECONDS)
        return GetMessageClass(METHODS[path].output_type).FromString(raw)


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Overlap]:
    others = list(read_merchants(home))
    with _asked(home, cores) as callers:
        pairs = list(_pairs(callers, others))
        done = steps.begin("E: times of questions whose answers tell nothing", len(pairs))
        found = []
        for first, second in pairs:
            found.append(_overlap(callers, first, second, plan.asks))
            done(1)
    return found


@contextmanager
def _asked(home: Path, cores: Cores) -> Iterator[Callers]:
    server = keysvc(home, cores, KEYSVC_FAILED_AUTHENTICATIONS=_MANY, KEYSVC_FAILED_VERIFICATIONS=_MANY)
    with server as target, grpc.insecure_channel(target.address) as channel:
        yield Callers(target, channel)


def _pairs(callers: Callers, others: list[str]) -> Iterator[tuple[Ask, Ask]]:
    denied, nobody, fine = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OK

    def another(number: int) -> str:
        return f"merchants/{others[number % len(others)]}"

    def unknown(number: int) -> str:
        return f"merchants/{merchant_id(900_000 + number % 99_000)}"

    def credential(merchant: Callable[[int], str]) -> Callable[[int], dict[str, Any]]:
        return lambda number: {"name": f"{merchant(number)}/credentials/primary-hmac-key"}

    def mac(merchant: Callable[[int], str]) -> Callable[[int], dict[str, Any]]:
        return lambda number: {"name": merchant(number), "message": b"", "mac": bytes(32)}

    def token(name: str) -> Callable[[int], dict[str, Any]]:
        return lambda number: {"name": name, "secret": f"{number:043}"}

    def merchants(label: str, method: str, fields: Any, headers: Callable[[int], Headers]) -> tuple[Ask, Ask]:
        return (
            Ask(f"{label}: an unknown merchant", method, fields(unknown), headers, denied),
            Ask("another's merchant", method, fields(another), headers, denied),
        )

    same = Ask("PSP GetCredential: an unknown merchant", "GetCredential", credential(unknown), callers.psp, denied)
    yield same, same
    yield merchants("PSP GetCredential", "GetCredential", credential, callers.psp)
    yield merchants("PSP RenewCredential", "RenewCredential", credential, callers.psp)
    yield merchants("SERVICE VerifyHmac", "VerifyHmac", mac, callers.service)
    yield (
        Ask("SERVICE VerifyToken: a wrong secret", "VerifyToken", token("merchants/listed/tokens/known"),
            callers.service, fine),
        Ask("an unknown token", "VerifyToken", token("merchants/listed/tokens/unknown"), callers.service, fine),
    )  # fmt: skip
    for label, headers in (("Basic", callers.basic), ("Bearer", callers.bearer)):
        known = "signer" if label == "Bearer" else "psp"
        yield (
            Ask(f"{label}: a known principal, a wrong proof", "ListMerchants", lambda _: {}, headers(known), nobody),
            Ask("an unknown principal", "ListMerchants", lambda _: {}, headers("nobody"), nobody),
        )


def _overlap(callers: Callers, first: Ask, second: Ask, asks: int) -> Overlap:
    order = [0, 1] * asks
    random.Random(_SEED).shuffle(order)
    times: tuple[Series, Series] = ([], [])
    numbers = count()
    for _ in range(max(1, asks // 20)):
        for ask in (first, second):
            callers.time_of(ask, next(numbers))
    for which in order:
        times[which].append(callers.time_of((first, second)[which], next(numbers)) * 1e6)
    return Overlap(SECTION, first.label, second.label, *times)


def _authorization(scheme: str, text: str) -> Headers:
    return (("authorization", f"{scheme} {base64.b64encode(text.encode()).decode()}"),)
