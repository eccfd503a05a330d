"""Values that a caller might well send, by the field: names that exist, and secrets that hold the planted word."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from endurance import planted
from endurance.contract import Rpc
from endurance.formats import FORMATS
from endurance.keys import MESSAGE, Key
from endurance.likely_webhooks import BODY, EVENT_ID, FIELDS, URL, webhooks
from endurance.stand_ins import CIPHERTEXT, NEW, OTHER, OWN, REQUEST, TARGET, TOKEN_SECRET, UNKNOWN

_MERCHANTS = (OWN, OWN, OWN, OTHER, UNKNOWN)
_SPIFFE_IDS = (
    "",
    f"spiffe://fuzz/{NEW}",
    f"spiffe://fuzz/{TARGET}",
    "spiffe://fuzz",
    "spiffe://Fuzz/x",
    "https://fuzz/x",
)
_MASKS = (
    "merchants", "can_edit_credentials", "remote_access", "can_sign", "spiffe_id", "jwt_public_keys", "state", "name",
    "etag", "*", "principal.kind", "",
)  # fmt: skip

_ABOUT_A_PAIR = ("GetRotation", "SwapCredentials")


@dataclass(frozen=True, slots=True)
class Likely:
    """What a running server makes likely: page tokens, and keys that it reads."""

    page_tokens: tuple[str, ...]
    sealed: bytes
    """A key with the planted word, sealed to the import key."""
    sample: Mapping[str, tuple[Any, ...]]

    def values(self, rpc: Rpc, field: FieldDescriptor) -> SearchStrategy[Any] | None:
        """None where nothing is likelier than anything else."""
        if field.enum_type is not None:
            return st.sampled_from([value.number for value in field.enum_type.values])
        message = field.containing_type.name if field.containing_type else ""
        if field.name in ("name", "parent") and message.endswith("Request"):
            return st.sampled_from(_names(rpc.method.name, field.name))
        found = self.sample.get(f"{message}.{field.name}") or self.sample.get(field.name)
        return None if found is None else st.sampled_from(found)


def likely(page_tokens: tuple[str, ...], sealed: bytes) -> Likely:
    mac = Key("", 1, planted.KEY.hex()).mac(MESSAGE)
    keys = _public_keys()
    now = int(time.time())
    times = tuple({"seconds": now + after} for after in (-3600, -1, 60, 86_400, 10 * 366 * 86_400))
    secret = (
        planted.KEY.hex(), planted.PASSWORD, planted.TEXT, base64.b64encode(planted.KEY).decode(),
        f"whsec_{base64.b64encode(planted.KEY).decode()}", planted.TEXT[:13],
    )  # fmt: skip
    sample: dict[str, tuple[Any, ...]] = {
        "request_id": (REQUEST, REQUEST, REQUEST, "", "the-same"),
        "etag": ("", "", "1", "2", "3"),
        "recipient_public_key": ("", *keys),
        "jwt_public_keys": keys,
        "previous_ttl": ({}, {"seconds": 1}, {"seconds": 3600}, {"seconds": 30 * 86_400 + 1}),
        "unused_for": ({}, {"seconds": 1}, {"seconds": 3600}),
        "due_within": ({}, {"seconds": 86_400}, {"seconds": -1}),
        "used_within": ({}, {"seconds": 3600}),
        "tolerance": ({}, {"seconds": 300}, {"seconds": 10 * 366 * 86_400}),
        "version": (0, 0, 1, 2),
        "body": (BODY, BODY, planted.KEY, b""),
        "url": (URL, ""),
        "event_id": (EVENT_ID, "msg.1"),
        "headers": webhooks(),
        "fields": FIELDS,
        "ImportCredentialRequest.secret": secret,
        "VerifyTokenRequest.secret": (TOKEN_SECRET, planted.TEXT),
        "sealed_secret": (sealed, planted.KEY, sealed[:-1] + b"~"),
        "api_key": (planted.TEXT, planted.PASSWORD, planted.TEXT + "!"),
        "message": (MESSAGE, MESSAGE, planted.KEY, b""),
        "mac": (mac, mac, mac[:-1], planted.KEY),
        "plaintext": (planted.KEY, b""),
        "ciphertext": (CIPHERTEXT, CIPHERTEXT, planted.KEY * 2),
        "additional_data": (b"", planted.KEY),
        "page_size": (0, 1, 2, 100, 1000, 1001),
        "page_token": ("", *page_tokens),
        "merchant_id": (NEW, NEW, OWN),
        "principal_id": (NEW, NEW, TARGET),
        "token_id": (NEW, "", "known"),
        "display_name": ("", "Fuzz & Sons"),
        "psp": ("", "principals/caller-psp", f"principals/{UNKNOWN}"),
        "acquirer": ("", "principals/caller-acquirer"),
        "CreatePrincipalRequest.principal": (
            {"kind": "SERVICE", "can_sign": True, "merchants": [f"merchants/{OWN}"]},
            {"kind": "PSP", "remote_access": True, "jwt_public_keys": [keys[0]]},
            {"kind": "ADMIN", "spiffe_id": f"spiffe://fuzz/{NEW}"},
        ),
        "UpdatePrincipalRequest.principal": (
            {"name": f"principals/{TARGET}", "can_sign": True, "state": "ACTIVE", "merchants": ["merchants/-"]},
            {"name": f"principals/{TARGET}", "etag": "1", "spiffe_id": f"spiffe://fuzz/{NEW}"},
        ),
        "update_mask": ({"paths": ["can_sign", "state"]}, {"paths": ["spiffe_id"]}, {"paths": ["merchants", "etag"]}),
        "Principal.name": (
            f"principals/{TARGET}",
            f"principals/{TARGET}",
            f"principals/{UNKNOWN}",
            "principals/caller-x",
        ),
        "Principal.merchants": (f"merchants/{OWN}", f"merchants/{OTHER}", "merchants/-"),
        "spiffe_id": _SPIFFE_IDS,
        "FieldMask.paths": _MASKS,
        "start_time": times,
        "end_time": times,
        "expire_time": times,
        "rotate_before": times,
        "time": times,
    }
    return Likely(page_tokens, sealed, sample)


def _names(method: str, field: str) -> list[str]:
    """Mostly of the kind that the method takes."""
    merchants = [f"merchants/{merchant}" for merchant in _MERCHANTS]
    credentials = [f"{merchant}/credentials/{slot}" for merchant in merchants[1:] for slot in FORMATS]
    tokens = [f"{merchant}/tokens/{token}" for merchant in merchants for token in ("known", NEW)]
    principals = [f"principals/{TARGET}"] * 3 + [f"principals/{UNKNOWN}"]
    everything = [merchants[0], credentials[0], tokens[0], principals[0]]
    if "Principal" in method or "HsmKey" in method:
        hsm_keys = [f"hsmKeys/{purpose}-{generation}" for purpose in ("row", "audit") for generation in (1, 2)]
        return [*(principals if "Principal" in method else hsm_keys) * 3, *everything]
    if method == "ListAuditEvents":
        return [*merchants, *principals, ""]
    if "Token" in method:
        return [*(merchants if field == "parent" else tokens), *merchants, *everything]
    if field == "parent" or method.endswith("Merchant") or method in _ABOUT_A_PAIR:
        return [*merchants * 3, *["merchants/-"] * 3, *everything]
    if method.startswith(("Verify", "Generate", "Sign", "Batch")):
        return [*merchants * 4, *credentials, *everything]
    return [*credentials, *everything]


def _public_keys() -> tuple[str, ...]:
    """Some that are taken where they stand, and some that are not."""
    made = (
        rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()),
    )  # fmt: skip
    pems = [key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode() for key in made]
    return (*pems, pems[0].replace("A", "B", 5), "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
