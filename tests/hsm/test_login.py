"""The PIN: given once, and never again once it was refused, since a token locks after a few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.softhsm import MODULE_PATH, Tokens

from keysvc.hsm.connection import TokenConfig, WrongPin, log_in
from keysvc.model.errors import Misconfigured

pytestmark = pytest.mark.any_token


@pytest.mark.parametrize("pin", ["wrong-pin-1234", "", "~", "9" * 300], ids=["wrong", "empty", "short", "long"])
def test_a_wrong_pin_is_refused_in_one_line(tokens: Tokens, shared_config: TokenConfig, pin: str) -> None:
    with pytest.raises(WrongPin) as refused:
        tokens.open(replace(shared_config, pin=pin))
    message = refused.value.message
    assert "KEYSVC_PIN_FILE" in message
    assert shared_config.label in message
    assert "\n" not in message
    assert not pin or pin not in message.replace("KEYSVC_PIN_FILE", "")
    tokens.open(shared_config).close()


def test_a_wrong_pin_ends_a_start_as_a_wrong_setting_does() -> None:
    assert issubclass(WrongPin, Misconfigured)


def test_the_pin_does_not_print(shared_config: TokenConfig) -> None:
    assert shared_config.pin not in repr(shared_config)


def test_a_token_that_is_not_there_is_named(tokens: Tokens, shared_config: TokenConfig) -> None:
    with pytest.raises(Misconfigured, match=r"'not-there'.*KEYSVC_TOKEN_LABEL"):
        log_in(tokens.module, replace(shared_config, label="not-there"), writable=False)


@pytest.mark.softhsm
def test_how_often_a_pin_is_given(
    compile_module: Callable[..., Path], scenario: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Counted where it counts: by a module between keysvc and the token."""
    counted = tmp_path / "logins"
    module = compile_module("counting_module.c", REAL_MODULE=f'"{MODULE_PATH}"', LOGINS_FILE=f'"{counted}"')
    found = scenario("logins.py", str(module), str(counted))

    # A start gives the PIN once, for all of its sessions.
    assert 1 == found["right_start"]
    # A start with a wrong PIN gives it once, and stops.
    assert 1 == found["wrong_start"]
    # A reset logs in once more, whatever the number of sessions and of calls that met it.
    assert 1 == found["reset"]
    # The PIN was changed: the recovery tries the old one once. Neither calls nor health checks try again.
    assert 1 == found["changed"]
    assert "PIN" in found["trouble"]
