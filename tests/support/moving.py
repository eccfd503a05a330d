"""How fast merchants move in: for benches, which measure it on a core of their own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from subprocess import run

from support.program import environment_of
from support.server import PROGRAM

HEADER = "merchant_id,display_name,slot,secret\n"


def import_rate(settings: Mapping[str, str], directory: Path, lines: int, prefix: tuple[str, ...] = ()) -> float:
    """Lines a second of `keysvc import`, each a merchant with an HMAC key in plain; its start and end are left out.

    `settings` name the token and database, as for `keysvc serve`. `prefix` is what starts it, such as taskset.
    """
    name = secrets.token_hex(4)
    few, many = (_file(directory / f"{name}-{count}.csv", f"{name}-{count}", count) for count in (1, lines))
    return (lines - 1) / (_seconds(many, settings, prefix) - _seconds(few, settings, prefix))


def _file(path: Path, name: str, count: int) -> Path:
    path.touch(mode=0o600)
    rows = (f"{name}-{n},Shop {n},primary-hmac-key,{secrets.token_hex(32)}\n" for n in range(count))
    path.write_text(HEADER + "".join(rows))
    return path


def _seconds(file: Path, settings: Mapping[str, str], prefix: tuple[str, ...]) -> float:
    begin = time.perf_counter()
    run([*prefix, str(PROGRAM), "import", str(file)], env=environment_of(settings), check=True, capture_output=True)
    return time.perf_counter() - begin
