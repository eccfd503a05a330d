"""Token keys that are weaker than `keysvc init` makes them: every start refuses them, naming key and attribute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, Session
from support.softhsm import Tokens

from keysvc.hsm import keyring, provisioning
from keysvc.hsm.attributes import IN_TRANSIT_SHOWN
from keysvc.hsm.connection import TokenConfig, log_in
from keysvc.hsm.keyring import KeySpec
from keysvc.hsm.lacks import Lack
from keysvc.model.errors import Misconfigured
from keysvc.model.hsm_keys import Purpose

pytestmark = pytest.mark.any_token


@dataclass(frozen=True)
class Weak(KeySpec):
    """A key made as keysvc makes it, but for `changes` to its template."""

    changes: dict[Attribute, Any] = field(default_factory=dict)

    def template(self) -> dict[Attribute, Any]:
        merged = {**super().template(), **self.changes}
        return {attribute: value for attribute, value in merged.items() if value is not None}


def weak(purpose: Purpose, changes: dict[Attribute, Any] | None = None, **other: Any) -> Weak:
    spec = keyring.SPECS[purpose]
    made = Weak(spec.key_type, spec.bits, spec.capabilities, spec.mechanisms, spec.unwrapped, changes or {})
    return replace(made, **other)


WRAP_AND_UNWRAP = MechanismFlag.WRAP | MechanismFlag.UNWRAP
TWO_MECHANISMS = (Mechanism.AES_KEY_WRAP_PAD, Mechanism.AES_KEY_WRAP)

WEAKENINGS: dict[str, tuple[Purpose, Weak, str]] = {
    "extractable": (Purpose.ROW, weak(Purpose.ROW, {Attribute.EXTRACTABLE: True}), "CKA_EXTRACTABLE"),
    "not sensitive": (Purpose.AUDIT, weak(Purpose.AUDIT, {Attribute.SENSITIVE: False}), "CKA_SENSITIVE"),
    "modifiable": (Purpose.DIGEST, weak(Purpose.DIGEST, {Attribute.MODIFIABLE: True}), "CKA_MODIFIABLE"),
    "not private": (Purpose.DIGEST, weak(Purpose.DIGEST, {Attribute.PRIVATE: False}), "CKA_PRIVATE"),
    "wrapping key that encrypts": (
        Purpose.WRAPPING,
        weak(Purpose.WRAPPING, capabilities=WRAP_AND_UNWRAP | MechanismFlag.ENCRYPT),
        "CKA_ENCRYPT",
    ),
    "wrapping key that decrypts": (
        Purpose.WRAPPING,
        weak(Purpose.WRAPPING, capabilities=WRAP_AND_UNWRAP | MechanismFlag.DECRYPT),
        "CKA_DECRYPT",
    ),
    "wrapping key that derives": (
        Purpose.WRAPPING,
        weak(Purpose.WRAPPING, capabilities=WRAP_AND_UNWRAP | MechanismFlag.DERIVE),
        "CKA_DERIVE",
    ),
    "row key that verifies": (
        Purpose.ROW,
        weak(Purpose.ROW, capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY),
        "CKA_VERIFY",
    ),
    "any mechanism": (
        Purpose.WRAPPING,
        weak(Purpose.WRAPPING, {Attribute.ALLOWED_MECHANISMS: None}),
        "CKA_ALLOWED_MECHANISMS",
    ),
    "one mechanism more": (
        Purpose.WRAPPING,
        weak(Purpose.WRAPPING, mechanisms=TWO_MECHANISMS),
        "CKA_ALLOWED_MECHANISMS",
    ),
    "another type": (Purpose.ROW, weak(Purpose.ROW, key_type=KeyType.AES), "CKA_KEY_TYPE"),
    "short wrapping key": (Purpose.WRAPPING, weak(Purpose.WRAPPING, bits=128), "CKA_VALUE_LEN"),
    "short import key": (Purpose.IMPORT, weak(Purpose.IMPORT, bits=1024), "CKA_MODULUS"),
    "import key that decrypts": (
        Purpose.IMPORT,
        weak(Purpose.IMPORT, capabilities=MechanismFlag.UNWRAP | MechanismFlag.DECRYPT),
        "CKA_DECRYPT",
    ),
    "import key that signs": (
        Purpose.IMPORT,
        weak(Purpose.IMPORT, capabilities=MechanismFlag.UNWRAP | MechanismFlag.SIGN),
        "CKA_SIGN",
    ),
    "extractable import key": (
        Purpose.IMPORT,
        weak(Purpose.IMPORT, {Attribute.EXTRACTABLE: True}),
        "CKA_EXTRACTABLE",
    ),
}


@dataclass(frozen=True)
class Blank:
    """A login to a token without keys, which may write."""

    session: Session
    lacking: frozenset[Lack]

    def make(self, spec: KeySpec, label: str) -> None:
        provisioning.generate(self.session, spec.without(self.lacking), label)


@pytest.fixture
def blank(tokens: Tokens) -> Iterator[Blank]:
    _, opened = log_in(tokens.module, tokens.blank(), writable=True)
    yield Blank(opened, tokens.lacking)
    opened.close()


def refusal(blank: Blank) -> str:
    with pytest.raises(Misconfigured) as refused:
        keyring.load(blank.session, blank.lacking)
    assert "\n" not in refused.value.message
    return refused.value.message


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.softhsm if "mechanism" in name else ()) for name in WEAKENINGS]
)
def test_a_weaker_key_is_refused(blank: Blank, name: str) -> None:
    purpose, spec, attribute = WEAKENINGS[name]
    blank.make(spec, f"keysvc-{purpose}-1")
    message = refusal(blank)
    assert f"keysvc-{purpose}-1 is weaker" in message
    assert attribute in message


def test_a_key_that_was_brought_in_is_refused(blank: Blank) -> None:
    """Somebody knows its bytes. The token tells by CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE and CKA_LOCAL."""
    blank.session.create_object({
        **weak(Purpose.ROW).without(blank.lacking).template(),
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        Attribute.VALUE: bytes(32),
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SIGN: True,
        Attribute.VERIFY: False,
        Attribute.LABEL: "keysvc-row-1",
    })  # fmt: skip
    message = refusal(blank)
    assert "keysvc-row-1 is weaker" in message
    assert any(attribute in message for attribute in ("ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "LOCAL"))


@pytest.mark.parametrize("purpose", Purpose)
def test_the_same_key_unweakened_is_taken(blank: Blank, purpose: Purpose) -> None:
    """The control of the cases above: only the other four are missed."""
    blank.make(weak(purpose), f"keysvc-{purpose}-1")
    others = [f"keysvc-{other}" for other in Purpose if other is not purpose]
    assert f"The token lacks {', '.join(others)}: run `keysvc init`" == refusal(blank)


def test_a_token_without_keys_says_what_to_run(blank: Blank) -> None:
    assert "run `keysvc init`" in refusal(blank)


def test_two_keys_of_one_label_are_refused(blank: Blank) -> None:
    for _ in range(2):
        blank.make(keyring.SPECS[Purpose.AUDIT], "keysvc-audit-1")
    assert "two keys labelled keysvc-audit-1" in refusal(blank)


def test_a_weaker_later_generation_is_refused(blank: Blank) -> None:
    blank.make(keyring.SPECS[Purpose.ROW], "keysvc-row-1")
    blank.make(weak(Purpose.ROW, {Attribute.EXTRACTABLE: True}), "keysvc-row-2")
    assert "keysvc-row-2 is weaker" in refusal(blank)


@pytest.fixture(scope="module")
def other_config(tokens: Tokens) -> TokenConfig:
    """A token whose wrapping key these tests replace."""
    return tokens.with_keys()


@pytest.mark.softhsm
@pytest.mark.parametrize(
    "unwrapped",
    [None, {Attribute.SENSITIVE: True}, IN_TRANSIT_SHOWN],
    ids=["no-template", "extractable", "readable"],
)
def test_a_wrapping_key_that_lets_keys_out_is_refused(
    tokens: Tokens, other_config: TokenConfig, unwrapped: dict[Attribute, Any] | None
) -> None:
    """The unwrap template cannot be read back, so the start tries it. A key that may be wrapped again is out."""
    _, session = log_in(tokens.module, other_config, writable=True)
    for key in list(session.get_objects({Attribute.LABEL: "keysvc-wrapping-1"})):
        key.destroy()
    provisioning.generate(session, weak(Purpose.WRAPPING, unwrapped=unwrapped), "keysvc-wrapping-1")
    session.close()
    try:
        with pytest.raises(Misconfigured, match=r"keysvc-wrapping-1 is weaker.*CKA_UNWRAP_TEMPLATE"):
            tokens.open(other_config).close()
    finally:
        tokens.module.reset()  # the refused start has left its login behind
