"""The README's job, run as it is printed: each line in a shell, its output compared with what the README shows."""

from __future__ import annotations

import sys
from pathlib import Path

from support.readme import run_readme
from support.server import FirstStart


def test_the_readmes_lines_print_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    server = FirstStart(tmp_path / "var").start()
    try:
        shown, printed = run_readme(tmp_path, server.address, {})
    finally:
        server.stop()
    assert 7 < len(shown)
    assert shown == printed
