"""The README's lines, on the stack: over TLS instead of in clear, and the same output."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from support.readme import run_readme

from containers.stack import REPLICAS, Stack

_OVER_TLS = {
    "-plaintext": "-cacert var/ca.pem",
    "import Basic,": "import Tls, Basic,",
    'Basic.from_file("var/admin-credentials")': 'Basic.from_file("var/admin-credentials"), tls=Tls("var/ca.pem")',
}
_COUNTS = re.compile(r"(?<=right: )\d+|(?<=head )\d+")


def test_every_line_of_the_readme_works_on_the_stack(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "var").symlink_to(stack.home)
    monkeypatch.setenv("KEYSVC_CA", "var/ca.pem")
    container = stack.inspect(REPLICAS[1])["Id"]
    # The record is read beside the token and the database, which are the replicas'.
    inside = {".venv/bin/keysvc audit verify --dev": f"docker exec {container} keysvc audit verify"}
    shown, printed = run_readme(tmp_path, stack.addresses[REPLICAS[0]], {**_OVER_TLS, **inside})
    assert 7 < len(shown)
    # The record holds the starts of two replicas.
    assert [_COUNTS.sub("N", text) for text in shown] == [_COUNTS.sub("N", text) for text in printed]
