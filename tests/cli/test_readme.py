"""The README's job, run as it is printed: each line in a shell, its output compared with what the README shows."""

from __future__ import annotations

import os
import re
import socket
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


def _run_in_shell(commands: list[str], directory: Path, address: str) -> list[str]:
    script = "trap 'kill $(jobs -p)' EXIT\n" + "".join(f"{command}\necho '{_END}'\n" for command in commands)
    done = subprocess.run(
        ["bash", "-eu", "-c", script], cwd=directory, capture_output=True, text=True, check=False, timeout=90,
        env={**os.environ, "KEYSVC_ADDRESS": address},
    )  # fmt: skip
    assert "" == done.stderr
    return done.stdout.split(f"{_END}\n")[:-1]


def _write_endpoint(readme: str, path: Path, replaced: dict[str, str]) -> None:
    """The program that the README shows, under the name that it says."""
    [program] = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    path.write_text(_replace(program, replaced))


def _replace(text: str, replaced: dict[str, str]) -> str:
    for shown, actual in replaced.items():
        text = text.replace(shown, actual)
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_readmes_lines_print_what_it_shows(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    lines = _console_lines(readme)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    server = DevServer(tmp_path / "var").start()
    port = _free_port()
    replaced = {ADDRESS: server.address, "127.0.0.1:8000": f"127.0.0.1:{port}", ", 8000)": f", {port})"}
    _write_endpoint(readme, tmp_path / "var" / "endpoint.py", replaced)
    try:
        printed = _run_in_shell([_replace(command, replaced) for command, _ in lines], tmp_path, server.address)
    finally:
        server.stop()
    assert 7 < len(lines)
    assert [_stable(output) for _, output in lines] == [_stable(output) for output in printed]
