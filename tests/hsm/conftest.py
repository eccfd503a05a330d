"""The token layer's fixtures: a token with keys that tests share, modules compiled from C, programs of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.softhsm import Tokens

from keysvc.hsm.connection import Connection, TokenConfig, connect
from keysvc.hsm.token import Token

HERE = Path(__file__).parent
SCENARIO_SECONDS = 60.0


@pytest.fixture(scope="session")
def shared_config(tokens: Tokens) -> TokenConfig:
    """A token whose five keys no test changes: making them takes half a second."""
    return tokens.with_keys()


@pytest.fixture
def token(tokens: Tokens, shared_config: TokenConfig) -> Iterator[Token]:
    """The shared token, opened for this test alone."""
    opened = tokens.open(shared_config)
    yield opened
    opened.close()


@pytest.fixture
def connection(tokens: Tokens, shared_config: TokenConfig) -> Iterator[Connection]:
    """One login to the shared token, without the pool that Token puts around it."""
    opened = connect(tokens.module, shared_config)
    yield opened
    opened.close()


@pytest.fixture
def compile_module(tmp_path: Path) -> Callable[..., Path]:
    """Builds a PKCS#11 module from a C source beside the tests; keywords become its macros."""

    def build(source: str, **macros: str) -> Path:
        compiler = shutil.which("cc")
        assert compiler is not None, "these tests need a C compiler: apt install gcc libc6-dev"
        made = tmp_path / f"{Path(source).stem}.so"
        defines = [f"-D{name}={value}" for name, value in macros.items()]
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", *defines, "-o", str(made), HERE / source],
            check=True,
        )
        return made

    return build


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a program of `scenarios/` in a process of its own, and returns the JSON object that it prints."""

    def run(program: str, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", HERE / "scenarios" / program, str(tmp_path / "home"), *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=SCENARIO_SECONDS,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    return run
