"""What clients ask: they sign and verify with keys whose secrets they hold, and with what the service signed."""

from __future__ import annotations

import base64
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from endurance.history import Refused, Signed, SignedByAll, Verified
from endurance.keys import HMAC_PAIR, Key, Place, merchant_of, told
from endurance.recorder import Recorder
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1 import webhook_pb2 as wpb

SCHEME = wpb.WebhookScheme.STANDARD_WEBHOOKS
KEPT = 6
"""Signatures of the service that a client keeps to present them later."""


@dataclass(frozen=True, slots=True)
class _Mac:
    """What is presented, and who signed it: nobody, where it is forged."""

    name: str
    message: bytes
    mac: bytes
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class _Webhook:
    event_id: str
    time: int
    body: bytes

    @property
    def signed(self) -> bytes:
        """As Standard Webhooks has it."""
        return f"{self.event_id}.{self.time}.".encode() + self.body

    def headers(self, macs: list[bytes]) -> dict[str, str]:
        signatures = " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)
        return {
            "webhook-id": self.event_id,
            "webhook-timestamp": str(self.time),
            "webhook-signature": signatures,
        }


@dataclass
class Questions:
    """One thread's. `name` is a slot's or a merchant's."""

    recorder: Recorder
    rng: random.Random
    _macs: deque[_Mac] = field(default_factory=lambda: deque(maxlen=KEPT))
    _webhooks: deque[tuple[dict[str, str], bytes, tuple[Key, ...]]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def verify_mac(self, name: str, key: Key) -> None:
        self._present_mac(_mac_by(key, name, self._message()))

    def verify_batch(self, asked: list[tuple[str, Key]]) -> None:
        """Each with a name and a key of its own; and one that is forged."""
        macs = [_mac_by(key, name, self._message()) for name, key in asked]
        macs.append(_Mac(asked[0][0], b"", self.rng.randbytes(32), ()))
        requests = [pb.VerifyHmacRequest(name=mac.name, message=mac.message, mac=mac.mac) for mac in macs]
        request = pb.BatchVerifyHmacRequest(requests=requests)
        span, answer = self.recorder.call("BatchVerifyHmac", request, name=macs[0].name, slot=HMAC_PAIR[0])
        if answer is not None:
            assert len(macs) == len(answer.results)
            for mac, result in zip(macs, answer.results, strict=True):
                self.recorder.events.append(
                    Verified(span, mac.name, HMAC_PAIR[0], mac.keys, told(result.response))
                    if result.HasField("response")
                    else Refused(span, mac.name, HMAC_PAIR[0], "BatchVerifyHmac", _reason_of(result.error))
                )

    def verify_api_key(self, name: str, key: Key) -> None:
        self._present_api_key(name, key.slot, key.text, (key,))

    def verify_signed(self, merchant: str) -> None:
        """A MAC that the service made earlier for this merchant."""
        mine = [mac for mac in self._macs if mac.name == merchant]
        if mine:
            self._present_mac(self.rng.choice(mine))

    def forge(self, name: str, slot: str) -> None:
        if slot in HMAC_PAIR:
            self._present_mac(_Mac(name, b"", self.rng.randbytes(32), ()))
        else:
            self._present_api_key(name, slot, self.rng.randbytes(24).hex(), ())

    def sign(self, name: str) -> None:
        request = pb.GenerateHmacRequest(name=name, message=self.rng.randbytes(64))
        span, answer = self.recorder.call("GenerateHmac", request, name=name, slot=HMAC_PAIR[0])
        if answer is not None:
            signer = (answer.credential, answer.version)
            self.recorder.events.append(Signed(span, name, request.message, answer.mac, signer))
            self._macs.append(_Mac(merchant_of(name), request.message, answer.mac, (Key(*signer),)))

    def sign_webhook(self, name: str) -> None:
        webhook = self._webhook()
        request = wpb.SignWebhookRequest(name=name, scheme=SCHEME, body=webhook.body, event_id=webhook.event_id)
        request.time.seconds = webhook.time
        span, answer = self.recorder.call("SignWebhook", request, name=name, slot=HMAC_PAIR[0])
        if answer is not None:
            signers: tuple[Place, ...] = tuple((signer.credential, signer.version) for signer in answer.signers)
            headers = dict(answer.headers)
            self.recorder.events.append(SignedByAll(span, name, webhook.signed, _macs_in(headers), signers))
            self._webhooks.append((headers, webhook.body, tuple(Key(*signer) for signer in signers)))

    def verify_webhook(self, name: str, key: Key) -> None:
        """Signed by a key whose secret the client holds."""
        webhook = self._webhook()
        self._present_webhook(name, webhook.headers([key.mac(webhook.signed)]), webhook.body, (key,))

    def verify_signed_webhook(self, merchant: str) -> None:
        """Signed by the service with every key that lived then."""
        mine = [kept for kept in self._webhooks if merchant_of(kept[2][0].credential) == merchant]
        if mine:
            self._present_webhook(merchant, *self.rng.choice(mine))

    def _present_mac(self, mac: _Mac) -> None:
        request = pb.VerifyHmacRequest(name=mac.name, message=mac.message, mac=mac.mac)
        self._verified("VerifyHmac", request, HMAC_PAIR[0], mac.keys)

    def _present_api_key(self, name: str, slot: str, text: str, keys: tuple[Key, ...]) -> None:
        self._verified("VerifyApiKey", pb.VerifyApiKeyRequest(name=name, api_key=text), slot, keys)

    def _present_webhook(self, name: str, headers: dict[str, str], body: bytes, keys: tuple[Key, ...]) -> None:
        request = wpb.VerifyWebhookRequest(name=name, scheme=SCHEME, headers=headers, body=body)
        self._verified("VerifyWebhook", request, HMAC_PAIR[0], keys)

    def _verified(self, method: str, request: Any, slot: str, keys: tuple[Key, ...]) -> None:
        span, answer = self.recorder.call(method, request, name=request.name, slot=slot)
        if answer is not None:
            self.recorder.events.append(Verified(span, request.name, slot, keys, told(answer)))

    def _message(self) -> bytes:
        return self.rng.randbytes(self.rng.choice((0, 17, 460)))

    def _webhook(self) -> _Webhook:
        return _Webhook(f"msg_{self.rng.randbytes(8).hex()}", int(time.time()), self._message())


def _mac_by(key: Key, name: str, message: bytes) -> _Mac:
    return _Mac(name, message, key.mac(message), (key,))


def _reason_of(status: Status) -> str:
    info = ErrorInfo()
    return info.reason if any(detail.Unpack(info) for detail in status.details) else f"code {status.code}"


def _macs_in(headers: dict[str, str]) -> tuple[bytes, ...]:
    signatures = headers["webhook-signature"].split()
    return tuple(base64.b64decode(signature.removeprefix("v1,")) for signature in signatures)
