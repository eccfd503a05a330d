"""Fixtures of the tests over the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from google.protobuf.duration_pb2 import Duration
from support.asking import ask, slot_of
from support.outside import new_rsa
from support.principals import Principals
from support.server import Client, DevServer
from webhooks.samples import KEY

from keysvc.v1.webhook_pb2 import VerifyWebhookResponse
from keysvc.webhooks.schemes import Delivery, Scheme


@pytest.fixture
def other_merchant(client: Client, merchant_ids: Callable[[], str]) -> str:
    """A second active merchant."""
    return client.active_merchant(merchant_ids())


@pytest.fixture(scope="module")
def principals(request: pytest.FixtureRequest, server: DevServer, client: Client) -> Iterator[Principals]:
    """Makes principals of the shared server."""
    made = Principals(server, client, request.module.__name__.rpartition(".")[2].removeprefix("test_"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def rsa_key() -> RSAPrivateKey:
    """A recipient's key of the least length that is taken."""
    return new_rsa(2048)


@pytest.fixture(scope="module")
def told(client: Client, merchant_ids: Callable[[], str]) -> Callable[[Scheme, Delivery], str]:
    """What VerifyWebhook answers for a merchant whose one key is KEY. Any time that was signed is near enough."""
    merchant = client.active_merchant(merchant_ids())
    secret = {"secret": KEY.decode(), "secret_format": "TEXT"}
    ask(client, "ImportCredential", name=slot_of(merchant, "primary-hmac-key"), **secret)

    def asked(scheme: Scheme, webhook: Delivery) -> str:
        received: dict[str, Any] = {"headers": webhook.headers, "url": webhook.url, "fields": webhook.fields}
        answer = ask(
            client,
            "VerifyWebhook",
            name=merchant,
            scheme=scheme,
            body=webhook.body,
            tolerance=Duration(seconds=3650 * 86400),
            **received,
        )
        assert (answer.result in (VerifyWebhookResponse.VALID, VerifyWebhookResponse.STALE_TIMESTAMP)) == bool(
            answer.matched_credential
        )
        return str(VerifyWebhookResponse.Result.Name(answer.result))

    return asked
