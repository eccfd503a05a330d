"""Which merchants the bench has, what it asks about them, and what the right answers are."""

from __future__ import annotations

from pathlib import Path

from bench.load import Question
from keysvc.model.names import CredentialName
from keysvc.model.slots import Slot
from keysvc.v1 import credential_service_pb2 as pb

MESSAGE_BYTES = 460


def merchant_id(number: int) -> str:
    return f"bench-{number:06d}"


def message_for(merchant: str) -> bytes:
    """A message of 460 bytes, another for each merchant."""
    return f'{{"merchant": "{merchant}", "note": "'.encode().ljust(MESSAGE_BYTES - 2, b"x") + b'"}'


def macs_file(home: Path) -> Path:
    """The MACs of the messages, which `bench.populate` writes: a merchant's id and its MAC a line."""
    return home.with_name(f"{home.name}.macs")


def read_merchants(home: Path) -> dict[str, bytes]:
    """Every merchant's id with the MAC of its message; none in a home that is not there."""
    file = macs_file(home)
    lines = (line.split() for line in (file.read_text().splitlines() if file.exists() else ()))
    return {merchant: bytes.fromhex(mac) for merchant, mac in lines}


def read_questions(home: Path) -> list[Question]:
    """VerifyHmac of every merchant's message, with the answer VALID."""
    return [_question(merchant, mac) for merchant, mac in read_merchants(home).items()]


def _question(merchant: str, mac: bytes) -> Question:
    name = str(CredentialName(merchant, Slot.PRIMARY_HMAC_KEY))
    request = pb.VerifyHmacRequest(name=name, message=message_for(merchant), mac=mac)
    answer = pb.VerifyHmacResponse(result="VALID", matched_credential=name, matched_version=1)
    return Question(request.SerializeToString(), answer.SerializeToString())
