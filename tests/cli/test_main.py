"""How the program begins: a server starts once more as the same process, the C library told what it should know."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, types
print(f"{os.getpid()} {os.environ.get('GLIBC_TUNABLES')}", flush=True)
sys.modules["keysvc.cli.commands"] = types.SimpleNamespace(run=lambda: print("begun as", *sys.argv[1:]))
from keysvc.cli import main
main.run()
"""
"""Tells how it was started, each time; and what it was begun as in the end, in place of doing it."""
TUNED = "glibc.malloc.tcache_count=127"


def starts_of(*arguments: str, **environment: str) -> list[str]:
    """What the C library was told at each start."""
    inherited = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True, timeout=30)
    *starts, begun = done.stdout.splitlines()
    assert f"begun as {' '.join(arguments)}" == begun
    assert 1 == len({line.split()[0] for line in starts})
    return [line.split()[1] for line in starts]


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_a_server_begins_anew_as_the_same_process_with_a_tuned_allocator(command: str) -> None:
    assert ["None", TUNED] == starts_of(command, "--workers", "2")


def test_what_the_c_library_was_told_before_stays() -> None:
    assert ["glibc.malloc.check=0"] == starts_of("serve", GLIBC_TUNABLES="glibc.malloc.check=0")


def test_what_does_not_serve_begins_once() -> None:
    assert ["None"] == starts_of("status", "serve")
