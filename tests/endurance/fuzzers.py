"""Who calls in a fuzz run: a principal of each kind, proven in each way; and those who prove nothing."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from endurance import planted
from endurance.weights import mostly

KINDS = ("ADMIN", "PSP", "ACQUIRER", "MERCHANT", "SERVICE", "AUDITOR")

_ODD_HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@dataclass(frozen=True, slots=True)
class Fuzzer:
    """One caller, by the headers of its next call. `known` is whether they prove who it is."""

    label: str
    known: bool
    headers: Callable[[], tuple[str, ...]] = field(repr=False)


class Signer:
    """Signs JWTs as a principal, or wrongly."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._other = ec.generate_private_key(ec.SECP256R1())
        self._numbers = count()

    @property
    def pem(self) -> str:
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def good(self, principal: str) -> str:
        return jwt.encode(self._claims(principal), self._key, "ES256")

    def wrong(self, principal: str, how: str) -> str:
        """`how` is what is wrong with it."""
        claims = self._claims(principal)
        now = int(time.time())
        changes: dict[str, dict[str, Any]] = {
            "audience": {"aud": "another"}, "expired": {"iat": now - 120, "exp": now - 60}, "long": {"exp": now + 3600},
            "times": {"iat": 10**30, "exp": -(10**30)}, "subject": {"sub": "x" * 200}, "id": {"jti": "j" * 5_000},
        }  # fmt: skip
        if how == "none":
            return jwt.encode(claims, "", "none")
        return jwt.encode(claims | changes.get(how, {}), self._other if how == "key" else self._key, "ES256")

    def _claims(self, principal: str) -> dict[str, Any]:
        now = int(time.time())
        number = next(self._numbers)
        return {"sub": principal, "aud": "keysvc", "iat": now, "exp": now + 300, "jti": f"{planted.TEXT}{now}-{number}"}


_WRONGS = ("audience", "expired", "long", "times", "subject", "id", "key", "none")


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def fuzzers(passwords: Mapping[str, str], signer: Signer, jwt_caller: str) -> SearchStrategy[Fuzzer]:
    """`passwords` by principal, one of each kind; an administrator calls as often as all others together."""
    known = [_known(name, basic(name, password)) for name, password in passwords.items()]
    admin, *others = known
    bearer = Fuzzer(f"{jwt_caller} by JWT", True, lambda: (f"Bearer {signer.good(jwt_caller)}",))
    good = st.sampled_from((*[admin] * len(known), *others, bearer))
    return mostly(good, _strangers([*passwords, "nobody"], signer), 10)


def _known(name: str, header: str) -> Fuzzer:
    return Fuzzer(name, True, lambda: (header,))


def _strangers(names: list[str], signer: Signer) -> SearchStrategy[Fuzzer]:
    passwords = st.sampled_from((planted.PASSWORD, planted.TEXT, "", ":" * 3, "\0"))
    wrong = st.builds(lambda name, password: (basic(name, password),), st.sampled_from(names), passwords)
    token = base64.b64encode(f"admin:{planted.TEXT}".encode()).decode()
    odd = st.sampled_from(
        (
            (), ("",), ("Basic",), ("Basic ",), (f"Basic {planted.TEXT}",), (f"Bearer {planted.TEXT}",), (token,),
            (f"Digest {token}",), (f"Basic {token[:-3]}",), ("Basic " + "QUFB" * 3_000,), ("Bearer a.b.c",),
            ("Bearer " + "e30." * 3,), (f"Basic {token}", f"Basic {token}"), ("Basic " + token * 4_000,),
        )
    )  # fmt: skip
    bearer = st.builds(
        lambda name, how: lambda: (f"Bearer {signer.wrong(name, how)}",),
        st.sampled_from(names),
        st.sampled_from(_WRONGS),
    )
    fixed = (wrong | odd | _ODD_HEADER.map(lambda text: (text,))).map(lambda headers: lambda: headers)
    return (fixed | bearer).map(lambda headers: Fuzzer("a stranger", False, headers))
