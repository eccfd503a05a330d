"""The documents say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keysvc.cli.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_its_default_and_meaning(name: str) -> None:
    rows = dict(
        re.findall(r"^\| `(KEYSVC_\w+)` \| (.*) \|$", (ROOT / "docs/configuration.md").read_text(), flags=re.MULTILINE)
    )
    setting = Settings.model_fields[name]
    default, _, meaning = rows[f"KEYSVC_{name.upper()}"].partition(" | ")
    assert setting.default is None or f"`{setting.default}`" == default
    assert meaning.startswith(setting.description or "no description")


def test_every_document_that_is_pointed_to_is_there() -> None:
    missing = [
        f"{document.relative_to(ROOT)} -> {target}"
        for document in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert [] == missing
