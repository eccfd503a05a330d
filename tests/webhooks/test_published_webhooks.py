"""Every published webhook of tests/vectors/webhooks.toml is read to its MAC, and written as it was published."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.outside import key_of, mac_of

from keysvc.webhooks.reading import read
from keysvc.webhooks.schemes import Delivery, Draft, Scheme, Signed
from keysvc.webhooks.writing import message, write

FILE = Path(__file__).parents[1] / "vectors" / "webhooks.toml"
TIMES = ("webhook-timestamp", "x-slack-request-timestamp")


@dataclass(frozen=True)
class Published:
    """One webhook as its maker publishes it."""

    scheme: Scheme
    key: bytes
    delivery: Delivery
    signed: Signed

    def __str__(self) -> str:
        return f"{self.scheme}-{mac_of(self.key, self.delivery.body + repr(self.delivery.fields).encode()).hex()[:6]}"

    def time(self) -> int | None:
        return next((int(self.delivery.headers[name]) for name in TIMES if name in self.delivery.headers), None)

    def draft(self) -> Draft:
        """What the maker had before it was signed."""
        time = datetime.fromtimestamp(self.time() or 0, UTC)
        event_id = self.delivery.headers.get("webhook-id", "")
        return Draft(self.delivery.body, self.delivery.url, self.delivery.fields, event_id, time)


def published(entry: dict[str, Any]) -> Published:
    headers, fields, signature = entry.get("headers", {}), entry.get("fields", {}), entry["signature"]
    in_header = {signature["header"]: signature["text"]} if "header" in signature else {}
    in_field = {signature["field"]: signature["text"]} if "field" in signature else {}
    webhook = Delivery(headers | in_header, entry.get("body", "").encode(), entry.get("url", ""), fields | in_field)
    key = key_of(entry["secret"], entry["secret_format"])
    return Published(Scheme(entry["scheme"]), key, webhook, Signed(headers | in_header, in_field))


ALL = [published(entry) for entry in tomllib.loads(FILE.read_text())["webhook"]]


def test_all_schemes_with_a_published_webhook_are_there() -> None:
    """Stripe and Shopify publish none; Stripe's library signs in test_makers_libraries."""
    assert set(Scheme) - {Scheme.STRIPE, Scheme.SHOPIFY} == {vector.scheme for vector in ALL}


@pytest.mark.parametrize("vector", ALL, ids=str)
def test_a_published_webhook_claims_what_its_signature_proves(vector: Published) -> None:
    claim = read(vector.scheme, vector.delivery)
    assert (mac_of(vector.key, claim.message),) == claim.signatures
    assert vector.time() == claim.time


@pytest.mark.parametrize("vector", ALL, ids=str)
def test_a_published_webhook_is_written_as_it_was_published(vector: Published) -> None:
    signature = mac_of(vector.key, message(vector.scheme, vector.draft()))
    assert vector.signed == write(vector.scheme, vector.draft(), [signature])


@pytest.mark.parametrize("vector", [v for v in ALL if v.delivery.body], ids=str)
def test_a_published_webhook_with_a_body_written_anew_claims_something_else(vector: Published) -> None:
    changed = vector.delivery._replace(body=vector.delivery.body + b"\n")
    claim = read(vector.scheme, changed)
    assert mac_of(vector.key, claim.message) not in claim.signatures
