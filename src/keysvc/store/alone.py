"""Work that one process at a time may do on a database. It is let go of when the process ends, however it does."""

from __future__ import annotations

import fcntl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, func, select

from keysvc.store.engine import errors_told_apart, reader_of


@contextmanager
def alone(engine: Engine, work: str) -> Iterator[bool]:
    """Whether nobody else is at this work; if so nobody begins it meanwhile. Raises StoreUnavailable."""
    if engine.dialect.name == "sqlite":
        with Path(f"{engine.url.database}.{zlib.crc32(work.encode()):08x}.lock").open("w") as file:
            yield _locked(file.fileno())
        return
    with errors_told_apart(), reader_of(engine).connect() as connection:
        connection.detach()  # closed at the end, which lets go of the lock
        yield bool(connection.scalar(select(func.pg_try_advisory_lock(zlib.crc32(work.encode())))))


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
