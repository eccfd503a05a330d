"""Secrets as text: every format there and back, what is refused, and that no refusal quotes the secret."""

from __future__ import annotations

import base64
import traceback

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keysvc.model import secrets
from keysvc.model.errors import InvalidField
from keysvc.model.secrets import SecretText
from keysvc.model.slots import SecretFormat

KEYS = st.binary(min_size=1, max_size=secrets.MAX_KEY_BYTES)
BINARY_FORMATS = [SecretFormat.HEX, SecretFormat.BASE64, SecretFormat.WHSEC]

REFUSED: dict[SecretFormat, list[str]] = {
    SecretFormat.HEX: ["", "0", "abc", "0g", "0x00", "00 11", " 0011", "0011\n", "00:11", "\u0660\u0660"],
    SecretFormat.BASE64: ["", "=", "QQ", "QQ=", "QQ==\n", "Q Q==", "QUI_", "QUI-", "QQ==QQ==", "é"],
    SecretFormat.WHSEC: [
        "",
        "whsec_",
        "QQ==",
        "WHSEC_QQ==",
        "whsec_QQ",
        "whsec_whsec_QQ==",
        " whsec_QQ==",
        "whsec_QUI_",
    ],
    SecretFormat.TEXT: ["", "\ud800"],
    SecretFormat.HEX_UPPER_32: ["", "A" * 31, "A" * 33, "A" * 64, "a" * 32, "G" * 32, "A" * 32 + "\n", " " + "A" * 31],
}


@given(KEYS, st.sampled_from(BINARY_FORMATS))
def test_a_key_reads_back_from_its_text(key: bytes, secret_format: SecretFormat) -> None:
    assert key == secrets.decode(secrets.encode(key, secret_format), secret_format, "secret")


@given(st.binary(min_size=16, max_size=16))
def test_sixteen_bytes_are_32_upper_case_digits(key: bytes) -> None:
    text = secrets.encode(key, SecretFormat.HEX_UPPER_32)
    assert 32 == len(text)
    assert key.hex().upper() == text
    assert key == secrets.decode(text, SecretFormat.HEX_UPPER_32, "secret")


@given(st.text(min_size=1, max_size=200))
def test_a_text_is_its_own_bytes(text: str) -> None:
    key = secrets.decode(text, SecretFormat.TEXT, "secret")
    assert text.encode() == key
    assert text == secrets.encode(key, SecretFormat.TEXT)


@given(st.binary(min_size=1, max_size=64))
def test_a_new_text_key_reads_back_and_loses_no_randomness(random: bytes) -> None:
    key = secrets.new_text_key(random)
    text = secrets.encode(key, SecretFormat.TEXT)
    assert key == secrets.decode(text, SecretFormat.TEXT, "secret")
    assert random == base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_published_forms() -> None:
    """RFC 4648 section 10, and Standard Webhooks' own example secret."""
    assert b"foobar" == secrets.decode("Zm9vYmFy", SecretFormat.BASE64, "secret")
    assert b"foobar" == secrets.decode("666F6f626172", SecretFormat.HEX, "secret")
    standard = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    key = secrets.decode(standard, SecretFormat.WHSEC, "secret")
    assert base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") == key
    assert standard == secrets.encode(key, SecretFormat.WHSEC)


@pytest.mark.parametrize(
    ("secret_format", "text"),
    [(secret_format, text) for secret_format, texts in REFUSED.items() for text in texts],
    ids=ascii,
)
def test_what_is_not_of_the_format_is_refused(secret_format: SecretFormat, text: str) -> None:
    with pytest.raises(InvalidField) as refused:
        secrets.decode(text, secret_format, "the_field")
    assert "the_field" == refused.value.field
    assert secret_format in refused.value.problem


@given(st.text(min_size=12, max_size=60), st.sampled_from(BINARY_FORMATS))
def test_no_refusal_quotes_the_secret(text: str, secret_format: SecretFormat) -> None:
    text = "\N{SNOWMAN}" + text  # or else it could be a word of the code, which a traceback shows
    refused = refusal(text, secret_format)
    assume(refused is not None)
    assert text not in f"{refused} {refused!r} {refused.metadata if refused else None}"
    # What a log would print of it: the library's own error, which quotes what it was given, is cut off.
    assert text not in "".join(traceback.format_exception(refused))


def refusal(text: str, secret_format: SecretFormat) -> InvalidField | None:
    try:
        secrets.decode(text, secret_format, "secret")
    except InvalidField as error:
        return error
    return None


@pytest.mark.parametrize("secret_format", [*BINARY_FORMATS, SecretFormat.TEXT])
def test_the_longest_key_is_taken_and_no_longer_one(secret_format: SecretFormat) -> None:
    longest = secrets.encode(b"k" * secrets.MAX_KEY_BYTES, secret_format)
    assert secrets.MAX_KEY_BYTES == len(secrets.decode(longest, secret_format, "secret"))
    with pytest.raises(InvalidField, match="longer than 1024 bytes"):
        secrets.decode(secrets.encode(b"k" * (secrets.MAX_KEY_BYTES + 1), secret_format), secret_format, "secret")


def test_the_length_of_a_text_is_that_of_its_bytes() -> None:
    with pytest.raises(InvalidField):
        secrets.decode("€" * 342, SecretFormat.TEXT, "secret")
    assert 1023 == len(secrets.decode("€" * 341, SecretFormat.TEXT, "secret"))


def test_a_secret_on_its_way_out_does_not_print() -> None:
    secret = SecretText("the-secret-itself")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        repr([secret]),
        repr({"k": secret}),
    ]
    assert all("the-secret-itself" not in text for text in shown)
    assert "the-secret-itself" == secret.reveal()
