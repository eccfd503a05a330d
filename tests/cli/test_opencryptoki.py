"""keysvc on openCryptoki, from a blank token to a restart: what it lacks is told, refused, or allowed by a setting."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.asking import ask, refused, result_of, slot_of, verify_key, verify_mac
from support.opencryptoki import LACKS, SO_PIN
from support.outside import key_of, mac_of, seal
from support.program import assert_refused, run, serving_anew
from support.server import Client
from support.softhsm import Tokens

from keysvc.hsm.connection import TokenConfig

pytestmark = pytest.mark.opencryptoki

PRIMARY, SECONDARY = "primary-hmac-key", "secondary-hmac-key"


@dataclass(frozen=True)
class Place:
    """Everything that the program is pointed at."""

    directory: Path
    config: TokenConfig

    @property
    def settings(self) -> dict[str, str]:
        return {
            "KEYSVC_PKCS11_MODULE": self.config.module_path,
            "KEYSVC_TOKEN_LABEL": self.config.label,
            "KEYSVC_PIN_FILE": str(self._secret("pin", self.config.pin)),
            "KEYSVC_SO_PIN_FILE": str(self._secret("so-pin", SO_PIN)),
            "KEYSVC_DATABASE_URL": f"sqlite:///{self.database}",
            "KEYSVC_LISTEN": "127.0.0.1:0",
            "KEYSVC_ALLOW_LACKS": LACKS,
        }

    @property
    def database(self) -> Path:
        return self.directory / "keysvc.db"

    @property
    def admin(self) -> Path:
        return self.directory / "admin-credentials"

    def init(self, **more: str) -> tuple[str, ...]:
        done = run("init", "--admin-credentials", str(self.admin), settings={**self.settings, **more})
        assert (0, "") == (done.returncode, done.stderr)
        return tuple(done.stdout.splitlines())

    def _secret(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path


@pytest.fixture
def place(tokens: Tokens, tmp_path: Path) -> Place:
    made = Place(tmp_path, tokens.blank())
    assert 0 == run("db", "upgrade", settings=made.settings).returncode
    return made


def test_the_whole_of_it(place: Place) -> None:
    assert_what_is_not_allowed_is_refused(place)
    lines = place.init()
    assert "made token key keysvc-wrapping-1-aes-cbc-pad" == lines[0]
    assert 5 == sum(line.startswith("made token key") for line in lines)
    assert any("can be replaced only by renewing" in line for line in lines)
    for lack in LACKS.split(","):
        assert 1 == sum(line.startswith(f"the token lacks {lack}, ") for line in lines)
    assert_refused(run("serve", settings={**place.settings, "KEYSVC_ALLOW_LACKS": ""}), "unwrap-template")

    with serving_anew("serve", place.settings, place.directory) as running:
        with Client(running.address, place.admin.read_text()) as client:
            merchant = client.active_merchant("m")
            keys = used(client, merchant)
            assert_an_altered_iv_is_noticed(place, client)
        assert 0 == running.stop()
        output = running.output.read_text()
    assert [1, 1, 1] == [
        output.count(f'"what":"{lack}"') + output.count(f'"what": "{lack}"') for lack in LACKS.split(",")
    ]

    assert not any(line.startswith("made") for line in place.init())
    with serving_anew("serve", place.settings, place.directory) as running:
        with Client(running.address, place.admin.read_text()) as client:
            assert_the_same_keys_are_live(client, merchant, keys)
        assert 0 == running.stop()


def assert_what_is_not_allowed_is_refused(place: Place) -> None:
    """In one line, with the setting that would allow it; and nothing is made."""
    told = run("init", settings={**place.settings, "KEYSVC_ALLOW_LACKS": ""})
    assert_refused(told, "unwrap-template: ", "allowed-mechanisms: ", "encryption: ", f"KEYSVC_ALLOW_LACKS={LACKS} ")
    assert_refused(
        run("init", settings={**place.settings, "KEYSVC_ALLOW_LACKS": "all"}), "has all", LACKS.replace(",", ", ")
    )
    assert not place.admin.exists()


def used(client: Client, merchant: str) -> dict[str, bytes]:
    """Every kind of credential is made and used; returns the keys that are live in the end."""
    primary, secondary = slot_of(merchant, PRIMARY), slot_of(merchant, SECONDARY)
    first = key_of(ask(client, "CreateCredential", name=primary).secret.value, "HEX")
    made = ask(client, "GenerateHmac", name=primary, message=b"m")
    assert mac_of(first, b"m") == made.mac
    assert ["VALID", "INVALID"] == [verify_mac(client, primary, b"m", mac) for mac in (made.mac, made.mac[::-1])]

    sealed = seal(ask(client, "GetImportKey").public_key, b"s" * 32)
    ask(client, "ImportCredential", name=secondary, sealed_secret=sealed)
    assert "VALID" == verify_mac(client, merchant, b"m", mac_of(b"s" * 32, b"m"))

    renewed = key_of(ask(client, "RenewCredential", name=primary).secret.value, "HEX")
    macs = [mac_of(first, b"m"), mac_of(renewed, b"m")]
    assert ["INVALID", "VALID"] == [verify_mac(client, primary, b"m", mac) for mac in macs]

    ask(client, "RevokeCredential", name=secondary)
    assert "INVALID" == verify_mac(client, merchant, b"m", mac_of(b"s" * 32, b"m"))
    ask(client, "ImportCredential", name=secondary, secret="07" * 32)

    rest = slot_of(merchant, "primary-rest-api-key")
    assert "VALID" == verify_key(client, rest, ask(client, "CreateCredential", name=rest).secret.value)
    assert_encryption_is_refused(client, slot_of(merchant, "webhook-encryption-key"))
    return {PRIMARY: renewed, SECONDARY: b"\x07" * 32}


def assert_encryption_is_refused(client: Client, name: str) -> None:
    """The slot is kept like another; it is the use that the token has no mechanism for."""
    assert 32 == len(key_of(ask(client, "CreateCredential", name=name).secret.value, "HEX"))
    envelope = b"\x01" + (1).to_bytes(4, "big") + bytes(40)
    for told in (
        refused(client, "Encrypt", name=name, plaintext=b"m"),
        refused(client, "Decrypt", name=name, ciphertext=envelope),
    ):
        assert ("FAILED_PRECONDITION", "TOKEN_LACKS") == (told.code.name, told.reason)
        assert "AES-GCM" in told.message


def assert_an_altered_iv_is_noticed(place: Place, client: Client) -> None:
    """One bit of it would make another key of the blob, which the row's MAC does not let happen."""
    name = slot_of(client.active_merchant("altered"), PRIMARY)
    ask(client, "CreateCredential", name=name)
    with sqlite3.connect(place.database) as database:
        (material,) = database.execute("SELECT material FROM credential_key WHERE merchant_id = 'altered'").fetchone()
        altered = bytes([material[0] ^ 1]) + material[1:]
        database.execute("UPDATE credential_key SET material = ? WHERE merchant_id = 'altered'", (altered,))
    for method, fields in (("GenerateHmac", {}), ("VerifyHmac", {"mac": bytes(32)})):
        told = refused(client, method, name=name, message=b"m", **fields)
        assert ("DATA_LOSS", "INTEGRITY") == (told.code.name, told.reason)


def assert_the_same_keys_are_live(client: Client, merchant: str, keys: dict[str, bytes]) -> None:
    for slot, key in keys.items():
        answer = ask(client, "VerifyHmac", name=slot_of(merchant, slot), message=b"n", mac=mac_of(key, b"n"))
        assert "VALID" == result_of(answer)
