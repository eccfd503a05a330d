"""Small private files, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from keysvc.model.errors import Misconfigured


def private_directory(path: Path) -> None:
    """Makes it with mode 0700 if it is not there. Raises Misconfigured where that cannot be."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"Cannot make the directory {path}: {error.strerror}. Set KEYSVC_HOME to another") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise Misconfigured(f"Cannot write to the directory {path}. Set KEYSVC_HOME to another")


def write_private(path: Path, text: str) -> None:
    """Mode 0600; on disk when this returns. A crash leaves the old file or the new one."""
    new = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise Misconfigured(f"Cannot write {path}: {error.strerror}") from None
