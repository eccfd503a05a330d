"""The README's job, run as it is printed: each line in a shell, its output compared with what the README shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support.server import DevServer

ROOT = Path(__file__).parents[2]
ADDRESS = "127.0.0.1:50051"
_END = "-- end of output --"
# What differs from run to run: times, fingerprints, secrets, and how far the record is signed.
_VOLATILE = (
    (re.compile(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"'), '"TIME"'),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00"), "TIME"),
    (re.compile(r"signed up to event \d+|^\d+ events since", re.MULTILINE), "SIGNED"),
    (re.compile(r":[0-9a-f]{64}$", re.MULTILINE), ":HASH"),
    (re.compile(r'("fingerprint": )"[0-9a-f]{16}"'), r'\1"FINGERPRINT"'),
    (re.compile(r'("value": )"([A-Za-z0-9_-]{43}|[0-9A-F]{32})"'), r'\1"SECRET"'),
)


def _console_lines(readme: str) -> list[tuple[str, str]]:
    """(command, output) of the README's console blocks, in order."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", readme, flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.strip()))
    return found


def _stable(text: str) -> str:
    for pattern, name in _VOLATILE:
        text = pattern.sub(name, text)
    return text.strip()


def _run_in_shell(commands: list[str], directory: Path) -> list[str]:
    script = "".join(f"{command}\necho '{_END}'\n" for command in commands)
    done = subprocess.run(
        ["bash", "-eu", "-c", script], cwd=directory, capture_output=True, text=True, check=False, timeout=60
    )
    assert "" == done.stderr
    return done.stdout.split(f"{_END}\n")[:-1]


def test_the_readmes_lines_print_what_it_shows(tmp_path: Path) -> None:
    lines = _console_lines((ROOT / "README.md").read_text())
    (tmp_path / ".venv").symlink_to(sys.prefix)
    server = DevServer(tmp_path / "var").start()
    try:
        printed = _run_in_shell([command.replace(ADDRESS, server.address) for command, _ in lines], tmp_path)
    finally:
        server.stop()
    assert 7 < len(lines)
    assert [_stable(output) for _, output in lines] == [_stable(output) for output in printed]
