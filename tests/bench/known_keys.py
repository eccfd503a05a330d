"""Merchants whose key the bench knows, made over the wire: their right MACs are computed without keysvc."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from bench.load import Question, Target
from keysvc.model.names import CredentialName, merchant_name
from keysvc.model.slots import Slot
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1 import merchant_service_pb2 as mpb
from keysvc.v1.credential_service_pb2_grpc import CredentialServiceStub
from keysvc.v1.merchant_service_pb2_grpc import MerchantServiceStub

_KEY_BYTES = 32


def new_key() -> bytes:
    return secrets.token_bytes(_KEY_BYTES)


def write_key(home: Path, key: bytes) -> None:
    """Beside a home whose merchants all have it, for `read_key`."""
    _key_file(home).write_text(key.hex())


def read_key(home: Path) -> bytes:
    return bytes.fromhex(_key_file(home).read_text())


def _key_file(home: Path) -> Path:
    return home.with_name(f"{home.name}.key")


@dataclass(frozen=True, slots=True)
class KnownKey:
    """The first key of one merchant's slot."""

    name: str
    key: bytes = field(repr=False)

    def mac(self, message: bytes) -> bytes:
        return hmac.digest(self.key, message, hashlib.sha256)

    def verification(self, message: bytes) -> Question:
        """VerifyHmac of the message, with the answer VALID."""
        request = pb.VerifyHmacRequest(name=self.name, message=message, mac=self.mac(message))
        answer = pb.VerifyHmacResponse(result="VALID", matched_credential=self.name, matched_version=1)
        return Question(request.SerializeToString(), answer.SerializeToString())


def make_key(target: Target, merchant_id: str) -> KnownKey:
    """A new merchant, active, with a key of HMAC-SHA256."""
    name = str(CredentialName(merchant_id, Slot.PRIMARY_HMAC_KEY))
    known = KnownKey(name, new_key())
    with grpc.insecure_channel(target.address) as channel:
        merchants = MerchantServiceStub(channel)  # type: ignore[no-untyped-call]
        credentials = CredentialServiceStub(channel)  # type: ignore[no-untyped-call]
        merchants.CreateMerchant(mpb.CreateMerchantRequest(merchant_id=merchant_id), metadata=target.metadata)
        merchants.ActivateMerchant(
            mpb.ActivateMerchantRequest(name=merchant_name(merchant_id)), metadata=target.metadata
        )
        credentials.ImportCredential(
            pb.ImportCredentialRequest(name=name, secret=known.key.hex()), metadata=target.metadata
        )
    return known
