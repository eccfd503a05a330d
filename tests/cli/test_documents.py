"""The documents say what the program does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from keysvc.cli.commands import app
from keysvc.cli.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_its_default_and_meaning(name: str) -> None:
    rows = dict(
        re.findall(r"^\| `(KEYSVC_\w+)` \| (.*) \|$", (ROOT / "docs/configuration.md").read_text(), flags=re.MULTILINE)
    )
    setting = Settings.model_fields[name]
    default, _, meaning = rows[f"KEYSVC_{name.upper()}"].partition(" | ")
    assert setting.default is None or f"`{setting.default}`" == default
    assert meaning.startswith(setting.description or "no description")


def test_every_document_and_section_that_is_pointed_to_is_there() -> None:
    missing = [
        f"{document.relative_to(ROOT)} -> {target}#{section}"
        for document in DOCUMENTS
        for target, _, section in re.findall(r"\]\(([^)#:]*)(#([^)]*))?\)", document.read_text())
        if not leads_somewhere(document.parent / target if target else document, section)
    ]
    assert [] == missing


def leads_somewhere(target: Path, section: str) -> bool:
    if not section:
        return target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
    return section in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_decision_is_in_the_index_in_their_order() -> None:
    decisions = ROOT / "docs/decisions"
    index = re.findall(r"^- \[(\d{4})\]\((.*?)\): ", (decisions / "README.md").read_text(), re.MULTILINE)
    assert [(path.name[:4], path.name) for path in sorted(decisions.glob("[0-9]*.md"))] == index


def commands(command: Any, name: str) -> Iterator[tuple[str, TyperCommand]]:
    """Those that are shown, by the words that they are called with."""
    if isinstance(command, TyperCommand):
        yield name, command
        return
    assert isinstance(command, TyperGroup)
    for word, each in command.commands.items():
        if not each.hidden:
            yield from commands(each, f"{name} {word}")


def test_every_command_and_option_is_in_a_document() -> None:
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    found = dict(commands(typer.main.get_command(app), "keysvc"))
    assert len(found) > 15
    words = {
        *found,
        *(option for each in found.values() for part in each.params for option in part.opts if "-" in option),
    }
    assert set() == {word for word in words if not re.search(rf"{re.escape(word)}(?![\w-])", text)}
