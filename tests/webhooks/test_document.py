"""docs/webhooks.md, the wire and the code name the same schemes, headers and fields."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keysvc.v1 import webhook_pb2
from keysvc.webhooks.forms import FORMS
from keysvc.webhooks.schemes import Scheme
from keysvc.webhooks.writing import write
from webhooks.samples import SIGNED_FIELDS, draft, mac

DOCUMENT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


def rows(heading: str) -> dict[str, str]:
    """The table under a heading: a scheme to its row."""
    table = DOCUMENT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (`[A-Z].*?) \| (.*) \|$", table, flags=re.MULTILINE)
    return {scheme: row for schemes, row in lines for scheme in re.findall(r"`([A-Z_0-9]+)`", schemes)}


def test_the_wire_and_the_code_have_the_same_schemes() -> None:
    on_the_wire = set(webhook_pb2.WebhookScheme.keys()) - {"WEBHOOK_SCHEME_UNSPECIFIED"}
    assert on_the_wire == {scheme.value for scheme in Scheme} == set(FORMS)


@pytest.mark.parametrize("heading", ["The schemes", "The key"])
def test_every_scheme_is_documented(heading: str) -> None:
    assert {scheme.value for scheme in Scheme} == set(rows(heading))


@pytest.mark.parametrize("scheme", Scheme)
def test_every_header_and_field_of_a_scheme_is_documented(scheme: Scheme) -> None:
    signed = write(scheme, draft(scheme), [mac(b"")])
    names = {*signed.headers, *signed.fields, *SIGNED_FIELDS.get(scheme, {})}
    assert set() == {name for name in names if name not in rows("The schemes")[scheme]}
