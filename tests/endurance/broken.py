"""A replica that is broken on purpose: keysvc, with a few lines of it replaced as its process starts."""

from __future__ import annotations

import os
from pathlib import Path

KEPT_CACHE = """
from keysvc.service.cache import Cache

# Sees that the epoch has moved, and forgets nothing.
Cache._forget = lambda self, subjects: []
"""
EARLY_READ = """
import time
from keysvc.store.epoch import EpochReader

read_at_once = EpochReader._read

# A read that is under way when a call arrives will do for it. The database is some way off, so reads take a while.
def read(self):
    value = read_at_once(self)
    time.sleep(0.1)
    return value

EpochReader._read = read
EpochReader.arrival = lambda self: self._begun - (self._begun > self._seen)
"""
UNCOUNTED = ("merchant", "principal")
"""Tables whose changes are not counted where their trigger is disabled."""


def environment(lines: str, directory: Path) -> dict[str, str]:
    """What has Python run these lines first."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(lines)
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))}
