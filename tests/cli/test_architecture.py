"""docs/architecture.md and its picture tell of packages, modules and tables that are there."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sqlmodel import SQLModel

from keysvc.store import tables

ROOT = Path(__file__).parents[2]
CODE = ROOT / "src/keysvc"
TEXT = (ROOT / "docs/architecture.md").read_text()
PICTURE = ElementTree.parse(ROOT / "docs/architecture.svg").getroot()
PACKAGES = {path.parent.name for path in CODE.glob("*/__init__.py")} - {"v1"}  # that one is generated

GROUPS = PICTURE.findall(".//{*}g[@id]")
ARROWS = [(arrow.attrib["data-from"], arrow.attrib["data-to"]) for arrow in PICTURE.iterfind(".//*[@data-from]")]


def texts(part: ElementTree.Element, kind: str) -> list[str]:
    return [each.text or "" for each in part.iterfind(f".//*[@class='{kind}']")]


def test_the_picture_and_the_text_have_every_package() -> None:
    assert sorted(f"{name}/" for name in PACKAGES) == sorted(texts(PICTURE, "package"))
    assert PACKAGES == set(re.findall(r"^\| `(\w+)/` \|", TEXT, re.MULTILINE))
    assert PACKAGES - {"cli", "client"} == {lower for _, lower in ARROWS}


def test_every_module_in_the_picture_is_in_its_package() -> None:
    named = [f"{group.get('id')}/{module}.py" for group in GROUPS for module in texts(group, "module")]
    assert len(named) == len(texts(PICTURE, "module")) > 30
    assert [] == [name for name in named if not (CODE / name).is_file()]


@pytest.mark.parametrize(("upper", "lower"), ARROWS, ids=lambda name: name)
def test_what_an_arrow_leads_to_is_imported(upper: str, lower: str) -> None:
    """That nothing else is, import-linter holds."""
    assert any(f"from keysvc.{lower}" in path.read_text() for path in (CODE / upper).glob("*.py"))


def test_every_table_of_the_database_is_told_of_and_the_picture_has_no_other() -> None:
    there = set(SQLModel.metadata.tables)
    assert tables.Merchant.__tablename__ in there
    told = re.findall(r"^\| SQL (.*?) \|", TEXT, re.MULTILINE)
    assert there == {name for row in told for name in re.findall(r"`(\w+)`", row)}
    assert set(texts(PICTURE, "table")) <= there


def test_the_picture_numbers_the_steps_of_a_verification() -> None:
    steps = re.findall(r"^(\d)\. ", TEXT, re.MULTILINE)
    assert {step.findtext("{*}text") for step in PICTURE.iterfind(".//*[@class='step']")} == set(steps)


def test_every_source_file_that_documents_name_is_there() -> None:
    named = {
        (document.name, file)
        for document in ROOT.glob("docs/**/*.md")
        for file in re.findall(r"`((?:\w+/)+\w+\.py)`", document.read_text())
    }
    assert len(named) > 10
    assert [] == [(where, file) for where, file in named if not any((top / file).is_file() for top in (CODE, ROOT))]
