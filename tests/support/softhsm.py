"""SoftHSM in the test process: one module, initialised once, and as many tokens as tests ask for."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

from keysvc.hsm import provisioning
from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.lacks import Lack
from keysvc.hsm.module import Module
from keysvc.hsm.token import Token
from keysvc.hsm.wrapping import Wrap

MODULE_PATH = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "test-pin-1234"


def configure(directory: Path) -> Path:
    """Points this process's SoftHSM at `directory`; returns where its tokens stand."""
    tokens = directory / "tokens"
    tokens.mkdir(parents=True)
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    return tokens


@dataclass
class Tokens:
    """Makes tokens, with keysvc's five keys in them, and closes what it opened.

    Only one open `Token` at a time may be reset: a reset finalises the module for the whole process.
    """

    module: Module
    directory: Path
    lacking: frozenset[Lack] = frozenset()
    wrap_by: Wrap = Wrap.KEY_WRAP_PAD
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def blank(self) -> TokenConfig:
        """A new token without keys."""
        config = TokenConfig(MODULE_PATH, f"test-{next(self._numbers)}", PIN, workers=4, handle_cache=64)
        self.module.make_token(config.label, PIN)
        return config

    def with_keys(self) -> TokenConfig:
        """A new token with keysvc's five keys."""
        config = self.blank()
        provisioning.make_missing(self.module, config, PIN)
        return config

    def open(self, config: TokenConfig | None = None) -> Token:
        return Token(self.module, config or self.with_keys())
