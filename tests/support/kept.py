"""Directories of what is made once for all tests of a process, to be copied."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path


def kept_directory() -> Path:
    """A new one, gone when the process ends."""
    directory = Path(tempfile.mkdtemp(prefix="keysvc-tests-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
