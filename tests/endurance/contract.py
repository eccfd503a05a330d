"""What the contract says of each rpc's errors, read from the comments of the protos that the server is built from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor
from support.methods import METHODS

PROTOS = Path(__file__).parents[2] / "protos" / "keysvc" / "v1"
ANYWHERE = frozenset(
    {
        "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_OWNER", "INVALID_FIELD", "NOT_FOUND", "HSM_UNAVAILABLE",
        "STORE_UNAVAILABLE", "OVERLOADED", "TOO_MANY_FAILURES", "DEADLINE_EXCEEDED", "INTEGRITY",
    }
)  # fmt: skip
"""Reasons that any call can end with, as CredentialService's comment says."""
CODES = {
    "UNAUTHENTICATED": "UNAUTHENTICATED",
    "PERMISSION_DENIED": "PERMISSION_DENIED",
    "NOT_OWNER": "PERMISSION_DENIED",
    "INVALID_FIELD": "INVALID_ARGUMENT",
    "DECRYPT_FAILED": "INVALID_ARGUMENT",
    "NOT_FOUND": "NOT_FOUND",
    "ALREADY_EXISTS": "ALREADY_EXISTS",
    "SLOT_OCCUPIED": "ALREADY_EXISTS",
    "REQUEST_ALREADY_DONE": "ALREADY_EXISTS",
    "SLOT_EMPTY": "FAILED_PRECONDITION",
    "WRONG_KIND": "FAILED_PRECONDITION",
    "MERCHANT_NOT_ACTIVE": "FAILED_PRECONDITION",
    "STILL_IN_USE": "FAILED_PRECONDITION",
    "TOO_MANY_RETIRING": "FAILED_PRECONDITION",
    "TOO_MANY_TOKENS": "FAILED_PRECONDITION",
    "HSM_KEY_PENDING": "ALREADY_EXISTS",
    "HSM_KEY_STATE": "FAILED_PRECONDITION",
    "TOKEN_LACKS": "FAILED_PRECONDITION",
    "LAST_ADMIN": "FAILED_PRECONDITION",
    "ETAG_MISMATCH": "ABORTED",
    "HSM_UNAVAILABLE": "UNAVAILABLE",
    "STORE_UNAVAILABLE": "UNAVAILABLE",
    "OVERLOADED": "RESOURCE_EXHAUSTED",
    "TOO_MANY_FAILURES": "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED",
    "INTEGRITY": "DATA_LOSS",
}
"""The gRPC code of each reason, by its name."""
_RPC = re.compile(r"((?:^ *//.*\n)+) *rpc (\w+)\(", re.MULTILINE)
_REASON = re.compile(r"\b[A-Z]{2,}(?:_[A-Z]+)*\b")


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method, with the reasons that it may refuse for."""

    path: str
    method: MethodDescriptor
    reasons: frozenset[str]

    def __str__(self) -> str:
        return self.path.rpartition(".")[2]


def rpcs() -> list[Rpc]:
    """Every rpc of the contract, in its order."""
    documented = dict(_documented())
    return [Rpc(path, method, documented[method.name] | ANYWHERE) for path, method in METHODS.items()]


def _documented() -> Iterator[tuple[str, frozenset[str]]]:
    """(method, the reasons after `Errors:` in its comment)"""
    for file in PROTOS.glob("*_service.proto"):
        for comment, method in _RPC.findall(file.read_text()):
            _, _, errors = comment.partition("Errors:")
            named = set(_REASON.findall(errors)) & CODES.keys()
            yield method, frozenset(named)
