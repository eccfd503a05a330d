"""The README's job, run as it is printed: its console lines, in one shell, and what of their output stays the same."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
ADDRESS = "127.0.0.1:50051"
_ENDPOINT_ADDRESS = "127.0.0.1:8000"
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


def run_readme(directory: Path, address: str, changed: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What the README shows and what its lines print in `directory`, without what differs from run to run.

    Its state is expected in `var` there, and keysvc on `address`. `changed` are texts of the lines and of the
    endpoint's program, in the order in which they are replaced.
    """
    readme, port = (ROOT / "README.md").read_text(), free_port()
    changed = {**changed, ADDRESS: address, _ENDPOINT_ADDRESS: f"127.0.0.1:{port}", ", 8000)": f", {port})"}
    [program] = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    (directory / "var" / "endpoint.py").write_text(_replaced(program, changed))
    lines = _console_lines(readme)
    printed = _run_in_shell([_replaced(command, changed) for command, _ in lines], directory, address)
    return [_stable(output) for _, output in lines], [_stable(output) for output in printed]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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


def _replaced(text: str, changed: Mapping[str, str]) -> str:
    for shown, actual in changed.items():
        text = text.replace(shown, actual)
    return text
