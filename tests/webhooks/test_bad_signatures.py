"""Signatures of another form, alone and in lists, and what is told of them. Every case begins as a right one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keysvc.webhooks.schemes import Scheme
from webhooks.samples import BODY, EVENT_ID, OTHER_KEY, TIME, b64, mac, signed_by

MALFORMED, INVALID, VALID = "MALFORMED_SIGNATURE", "INVALID", "VALID"
STANDARD, STRIPE, SLACK = Scheme.STANDARD_WEBHOOKS, Scheme.STRIPE, Scheme.SLACK_V0
BASE64 = [Scheme.SQUARE, Scheme.SHOPIFY, Scheme.ADYEN_PAYLOAD, Scheme.ADYEN_NOTIFICATION]
HEX = [Scheme.GITHUB, SLACK]
COMPUTOP = [Scheme.COMPUTOP_REQUEST, Scheme.COMPUTOP_NOTIFY]
OTHER_MACS = [mac(b"%d" % index, OTHER_KEY) for index in range(199)]


def flipped_last_bit(text: str) -> str:
    """Base64 of 32 bytes with a bit set after their end."""
    return text[:-2] + chr(ord(text[-2]) + 1) + "="


BASE64_CHANGES: dict[str, Callable[[str], str]] = {
    "no padding": lambda text: text.rstrip("="),
    "more padding": lambda text: text + "=",
    "bits after the end": flipped_last_bit,
    "the alphabet of URLs": lambda text: "-_" + text[2:],
    "a blank before": lambda text: " " + text,
    "a blank after": lambda text: text + " ",
    "a line feed after": lambda text: text + "\n",
    "a line feed within": lambda text: text[:4] + "\n" + text[4:],
    "a character of no alphabet": lambda text: text[:4] + "!" + text[4:],
    "not ASCII": lambda text: text + "\u00e9",
    "half a surrogate pair": lambda text: text + "\ud800",
    "quoted": lambda text: f'"{text}"',
}
HEX_CHANGES: dict[str, Callable[[str], str]] = {
    "upper case": lambda text: text.replace("a", "A").replace("b", "B").replace("c", "C"),
    "a blank before": lambda text: " " + text,
    "a blank after": lambda text: text + " ",
    "a blank within": lambda text: text[:-2] + " " + text[-2:],
    "a line feed after": lambda text: text + "\n",
    "an odd number of digits": lambda text: text[:-1],
    "no hexadecimal": lambda text: text[:-1] + "g",
    "digits that are not ASCII": lambda text: text[:-1] + "\u0661",
    "the prefix alone": lambda text: text[: text.index("=") + 1],
    "no prefix": lambda text: text[text.index("=") + 1 :],
    "the prefix in upper case": lambda text: text.upper()[: text.index("=") + 1] + text[text.index("=") + 1 :],
    "the prefix of SHA-1": lambda text: "sha1" + text[text.index("=") :],
    "another version": lambda text: "v1" + text[text.index("=") :],
}


@pytest.mark.parametrize("scheme", BASE64)
@pytest.mark.parametrize("change", BASE64_CHANGES.values(), ids=BASE64_CHANGES)
def test_base64_that_is_not_canonical_is_malformed(scheme: Scheme, change: Callable[[str], str]) -> None:
    assert MALFORMED == signed_by(scheme, change)


@pytest.mark.parametrize("change", BASE64_CHANGES.values(), ids=BASE64_CHANGES)
def test_an_entry_of_standard_webhooks_that_is_not_canonical_is_skipped(change: Callable[[str], str]) -> None:
    """So it is malformed alone, and does no harm to another; a blank after it is the list's."""
    right = b64(mac(b"%b.%d.%b" % (EVENT_ID.encode(), TIME, BODY)))
    harmless = change(right).rstrip(" ") == right
    assert (VALID if harmless else MALFORMED) == signed_by(STANDARD, lambda _: f"v1,{change(right)}")
    assert VALID == signed_by(STANDARD, lambda text: f"v1,{change(right)} {text}")


@pytest.mark.parametrize("scheme", HEX)
@pytest.mark.parametrize("change", HEX_CHANGES.values(), ids=HEX_CHANGES)
def test_hexadecimal_of_another_form_is_malformed(scheme: Scheme, change: Callable[[str], str]) -> None:
    assert MALFORMED == signed_by(scheme, change)


@pytest.mark.parametrize("scheme", COMPUTOP)
def test_computops_hexadecimal_is_read_in_either_case(scheme: Scheme) -> None:
    assert [VALID, VALID] == [signed_by(scheme, change) for change in (str.upper, str.lower)]
    spoilt = [lambda text: " " + text, lambda text: text + "\n", lambda text: text[:-1], lambda text: text + "\u212a0"]
    assert [MALFORMED] * 4 == [signed_by(scheme, change) for change in spoilt]


@pytest.mark.parametrize("scheme", [*BASE64, *HEX, *COMPUTOP])
def test_a_well_formed_signature_of_another_length_is_invalid(scheme: Scheme) -> None:
    prefix = {Scheme.GITHUB: "sha256=", SLACK: "v0="}.get(scheme, "")
    one, many = ("AA==", "AAAA" * 4000) if scheme in BASE64 else (prefix + "00", prefix + "00" * 8000)
    assert [INVALID, INVALID] == [signed_by(scheme, lambda _: one), signed_by(scheme, lambda _: many)]


def test_standard_webhooks_reads_200_signatures() -> None:
    others = " ".join(f"v1,{b64(other)}" for other in OTHER_MACS)
    assert VALID == signed_by(STANDARD, lambda text: f"{others} {text}")
    assert INVALID == signed_by(STANDARD, lambda _: others)


def test_stripe_reads_200_signatures() -> None:
    others = ",".join(f"v1={other.hex()}" for other in OTHER_MACS)
    assert VALID == signed_by(STRIPE, lambda text: f"{others},{text}")
    assert INVALID == signed_by(STRIPE, lambda _: f"t={TIME},{others}")


STANDARD_LISTS = {
    "another version alone": ("v2,{right}", MALFORMED),
    "the asymmetric version alone": ("v1a,{right}", MALFORMED),
    "another version beside": ("v1a,AAAA v1,{right} v2,AAAA", VALID),
    "another version in upper case": ("V1,{right}", MALFORMED),
    "no version": ("{right}", MALFORMED),
    "nothing after the version": ("v1,", MALFORMED),
    "no comma": ("v1 {right}", MALFORMED),
    "a blank after the comma": ("v1, {right}", MALFORMED),
    "a tab between": ("v1,AAAA\tv1,{right}", MALFORMED),
    "two blanks between": ("v1,AAAA  v1,{right}", VALID),
    "joined by a proxy": ("v1,{right}, v1,{right}", VALID),
    "another signature": ("v1,AAAA", INVALID),
}


@pytest.mark.parametrize(("text", "result"), STANDARD_LISTS.values(), ids=STANDARD_LISTS)
def test_a_list_of_standard_webhooks(text: str, result: str) -> None:
    right = b64(mac(b"%b.%d.%b" % (EVENT_ID.encode(), TIME, BODY)))
    assert result == signed_by(STANDARD, lambda _: text.format(right=right))


STRIPE_LISTS = {
    "in another order": ("v1={right},t={time}", VALID),
    "another scheme beside": ("t={time},v0=00,v1={right},v2=x,nothing,=", VALID),
    "another scheme alone": ("t={time},v0={right}", MALFORMED),
    "no time": ("v1={right}", MALFORMED),
    "two times": ("t={time},t={time},v1={right}", MALFORMED),
    "two headers joined": ("t={time},v1={right}, t={time},v1={right}", MALFORMED),
    "two times, one empty": ("t={time},t=,v1={right}", MALFORMED),
    "no signature": ("t={time}", MALFORMED),
    "an empty signature": ("t={time},v1=", MALFORMED),
    "blanks between": ("t={time}, v1={right}", MALFORMED),
    "upper case": ("t={time},v1={upper}", MALFORMED),
    "one in upper case beside": ("t={time},v1={upper},v1={right}", VALID),
    "a blank within": ("t={time},v1={right} ", MALFORMED),
    "two equal signs": ("t={time},v1=={right}", MALFORMED),
    "the name in upper case": ("T={time},V1={right}", MALFORMED),
    "semicolons": ("t={time};v1={right}", MALFORMED),
    "another signature": ("t={time},v1=00", INVALID),
}


@pytest.mark.parametrize(("text", "result"), STRIPE_LISTS.values(), ids=STRIPE_LISTS)
def test_a_list_of_stripe(text: str, result: str) -> None:
    right = mac(b"%d.%b" % (TIME, BODY)).hex()
    assert result == signed_by(STRIPE, lambda _: text.format(time=TIME, right=right, upper=right.upper()))
