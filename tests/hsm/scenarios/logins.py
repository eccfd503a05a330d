"""Starts, resets and a changed PIN, with the logins of each counted. Arguments: home, module, file of logins."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

from support.softhsm import PIN, Tokens, configure

from keysvc.hsm.module import Module
from keysvc.hsm.token import Token
from keysvc.model.errors import HsmUnavailable, Misconfigured
from keysvc.model.hsm_keys import Purpose


class Logins:
    """How many there were since they were last asked for."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = 0

    def new(self) -> int:
        count = len(self._file.read_text().splitlines())
        since, self._seen = count - self._seen, count
        return since


def call_and_heal(token: Token) -> str | None:
    """Ten calls and ten health checks; returns what the last check tells."""
    trouble = None
    for _ in range(10):
        with contextlib.suppress(HsmUnavailable):
            token.keyed_digest(Purpose.ROW, 1, b"row")
        trouble = token.heal()
    return trouble


def main(home: Path, module_path: str, logins_file: Path) -> dict[str, object]:
    directory = configure(home)
    tokens = Tokens(Module(module_path), directory)
    config = tokens.with_keys()
    logins = Logins(logins_file)
    logins.new()

    with contextlib.suppress(Misconfigured):
        tokens.open(replace(config, pin="wrong-pin-1234"))
    wrong_start = logins.new()

    token = tokens.open(config)
    call_and_heal(token)
    right_start = logins.new()

    tokens.module.reset()
    call_and_heal(token)
    reset = logins.new()

    session = tokens.module.token(config.label).open(rw=True)
    session.set_pin(PIN, "changed-pin-1234")
    session.close()
    tokens.module.reset()
    trouble = call_and_heal(token)
    return {
        "wrong_start": wrong_start,
        "right_start": right_start,
        "reset": reset,
        "changed": logins.new(),
        "trouble": trouble,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))))
