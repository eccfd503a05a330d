"""Tokens that go away, and calls that must say so in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keysvc.hsm.connection import TokenConfig
from keysvc.model.errors import HsmUnavailable
from support.softhsm import Tokens

ANSWER_SECONDS = 2.0


def directory_of(tokens: Tokens, config: TokenConfig) -> Path:
    """Where SoftHSM keeps one token: it pads the label to 32 characters."""
    label = config.label.encode().ljust(32)
    return next(path for path in tokens.directory.iterdir() if label in (path / "token.object").read_bytes())


@contextmanager
def moved_away(tokens: Tokens, directory: Path) -> Iterator[None]:
    elsewhere = tokens.directory.with_name("moved-away")
    directory.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(directory)


def assert_unavailable_soon(call: Callable[[], object]) -> None:
    begin = time.monotonic()
    with pytest.raises(HsmUnavailable):
        call()
    assert time.monotonic() - begin < ANSWER_SECONDS
