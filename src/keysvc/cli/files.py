"""Small private files, written whole or not at all, and read only where they are private."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from keysvc.model.errors import Misconfigured

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_directory(path: Path, known_by: str | None = None) -> None:
    """Makes it with mode 0700 if it is not there. Raises Misconfigured where that cannot be.

    One that others can enter is closed to them if it is ours to close: empty, or with the file
    `known_by` in it. Anything else may be a home directory, or /.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & _OTHERS:
            _close_to_others(path, known_by)
    except OSError as error:
        raise Misconfigured(f"Cannot make the directory {path}: {error.strerror}. Set KEYSVC_HOME to another") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise Misconfigured(f"Cannot write to the directory {path}. Set KEYSVC_HOME to another")


def write_private(path: Path, text: str) -> None:
    """Mode 0600; on disk when this returns. A crash leaves the old file or the new one."""
    with private_file(path) as file:
        file.write(text)


@contextmanager
def private_file(path: Path) -> Iterator[TextIO]:
    """To be written: mode 0600, on disk and in its place at the end. A crash or an exception leaves the old file."""
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        # Never through a link, and never into a file that somebody else made and can read.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Misconfigured(f"Cannot write {path}: {error.strerror}") from None


def read_private(path: Path, what: str, variable: str) -> bytes:
    """The contents; raises Misconfigured where the file cannot be read, or can be read by others.

    The file that was opened is the one whose mode counts, wherever a link led.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            contents = file.read()
    except OSError as error:
        raise Misconfigured(f"Cannot read the {what} {path}: {error.strerror}. Set {variable}") from None
    if mode & _OTHERS:
        raise Misconfigured(f"The {what} {path} can be read by others: chmod 600 it")
    return contents


def is_private(descriptor: int) -> bool:
    """Whether others cannot read it: a file of mode 0600, or what is no file, such as a pipe."""
    mode = os.fstat(descriptor).st_mode
    return not (stat.S_ISREG(mode) and mode & _OTHERS)


def _close_to_others(path: Path, known_by: str | None) -> None:
    ours = known_by is not None and (path / known_by).exists()
    if not ours and any(path.iterdir()):
        raise Misconfigured(
            f"Others can enter the directory {path}, which holds files that are not keysvc's:"
            " chmod 700 it, or set KEYSVC_HOME to another"
        )
    path.chmod(0o700)
