"""A small disk of one test's own, in memory, that can be filled to the last byte and emptied again."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_FILLER = "filler"


class SmallDisk:
    """Mounted at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def full(self) -> Iterator[None]:
        filler = self.path / _FILLER
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                _fill(file.fileno(), size)
        try:
            yield
        finally:
            filler.unlink()


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """Skips the test where nothing can be mounted; in CI that is a failure. Stop what uses it before the end."""
    path = Path(tempfile.mkdtemp(prefix="disk", dir="/tmp"))
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(path)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            assert not os.environ.get("CI"), done.stderr
            pytest.skip(f"needs to mount a tmpfs, as root: {done.stderr.strip()}")
        try:
            yield SmallDisk(path)
        finally:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
    finally:
        path.rmdir()


def _fill(file: int, size: int) -> None:
    try:
        while True:
            os.write(file, bytes(size))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
