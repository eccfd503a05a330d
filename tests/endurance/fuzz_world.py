"""A server for a fuzz run: a principal of each kind that calls, and merchants that are replaced as they wear out."""

from __future__ import annotations

import time
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.protobuf.field_mask_pb2 import FieldMask
from support.methods import message_of, path_of
from support.server import Client, DevServer

from endurance import planted, stand_ins
from endurance.every_rpc import OAEP
from endurance.fuzzers import KINDS, Signer
from endurance.likely import Likely, likely
from endurance.stand_ins import Actual
from keysvc.v1.principal_pb2 import Principal

_RIGHTS: dict[str, dict[str, bool]] = {
    "PSP": {"can_edit_credentials": True, "remote_access": True},
    "ACQUIRER": {"can_edit_credentials": True},
    "MERCHANT": {"can_edit_credentials": True},
    "SERVICE": {"can_sign": True},
}
_LISTING = ("MERCHANT", "SERVICE")
JWT_CALLER = "caller-psp"
_DAY = {"seconds": 86_400}
_IMPORTS = {
    "primary-hmac-key": (planted.KEY.hex(), "HEX"),
    "secondary-hmac-key": (planted.KEY[:-1].hex(), "HEX"),
    "primary-rest-api-key": (planted.TEXT, "TEXT"),
    "api-password": (planted.PASSWORD, "HEX_UPPER_32"),
}


class FuzzWorld:
    """Made once for a server; `renew` gives it merchants and principals that nothing has been done to."""

    def __init__(self, server: DevServer, client: Client) -> None:
        self._client = client
        self.signer = Signer()
        self.passwords = {"admin": (server.home / "admin-credentials").read_text().partition(":")[2]}
        for kind in KINDS[1:]:
            self._add_caller(kind)
        self._number = 0
        self.actual = self.renew()

    @property
    def secrets(self) -> list[str]:
        """What callers prove themselves with."""
        return list(self.passwords.values())

    def renew(self) -> Actual:
        """New ones in the place of the old."""
        self._number += 1
        number = self._number
        own, other, target = stand_ins.own(number), stand_ins.other(number), stand_ins.target(number)
        for merchant, rights in ((own, {"psp": JWT_CALLER, "acquirer": "caller-acquirer"}), (other, {})):
            named = {field: f"principals/{principal}" for field, principal in rights.items()}
            self._ask("CreateMerchant", merchant_id=merchant, merchant=named)
            self._ask("ActivateMerchant", name=f"merchants/{merchant}")
        self._ask("CreatePrincipal", principal_id=target, principal={"kind": "SERVICE"})
        for kind in _LISTING:
            listed = Principal(name=f"principals/caller-{kind.lower()}", merchants=[f"merchants/{own}"])
            self._ask("UpdatePrincipal", principal=listed, update_mask=FieldMask(paths=["merchants"]))
        token = self._ask("CreateToken", parent=f"merchants/{own}", token_id="known").secret
        self.actual = Actual(number, token, self._fill(f"merchants/{own}"))
        return self.actual

    def likely(self) -> Likely:
        """Page tokens of every list that has two, and a key that the token unwraps."""
        pages = [
            self._ask("ListMerchants", page_size=1).next_page_token,
            self._ask("ListPrincipals", page_size=1).next_page_token,
            self._ask("ListAuditEvents", page_size=1).next_page_token,
            self._ask("ListCredentials", parent="merchants/-", due_within=_DAY, page_size=1).next_page_token,
        ]
        key = serialization.load_pem_public_key(self._ask("GetImportKey").public_key.encode())
        assert isinstance(key, rsa.RSAPublicKey)
        return likely(tuple(pages), key.encrypt(planted.KEY, OAEP))

    def _add_caller(self, kind: str) -> None:
        name = f"caller-{kind.lower()}"
        keys = [self.signer.pem] if name == JWT_CALLER else []
        principal = {"kind": kind, "jwt_public_keys": keys, **_RIGHTS.get(kind, {})}
        self.passwords[name] = self._ask("CreatePrincipal", principal_id=name, principal=principal).password

    def _fill(self, merchant: str) -> bytes:
        """Keys in some slots; returns something that one of them encrypted."""
        for slot, (secret, secret_format) in _IMPORTS.items():
            name = f"{merchant}/credentials/{slot}"
            soon = {"seconds": int(time.time()) + 3600}
            fields = {"secret": secret, "secret_format": secret_format, "rotate_before": soon}
            self._ask("ImportCredential", name=name, **fields)
        encryption = f"{merchant}/credentials/encryption-password"
        self._ask("CreateCredential", name=encryption)
        plaintext = planted.KEY * 2
        ciphertext: bytes = self._ask("Encrypt", name=encryption, plaintext=plaintext).ciphertext
        return ciphertext

    def _ask(self, method: str, **fields: Any) -> Any:
        return self._client.call(method, message_of(path_of(method), fields))
