"""What keeps the process's memory, which holds the PIN and secrets on their way out, from files and other programs."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

import structlog

from keysvc.model.errors import Misconfigured

_PR_SET_DUMPABLE = 4
"""prctl(2). Off: no core dump at all, not through a handler of the system's either; /proc/PID is root's; no ptrace."""

log = structlog.get_logger(__name__)


def harden() -> None:
    """To be called before any secret is read. Raises Misconfigured where the system does not do it."""
    os.umask(0o077)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if _is_linux():
            _prctl(_PR_SET_DUMPABLE, 0)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"Cannot keep core dumps from being written: {error}") from None


def log_what_is_missing() -> None:
    """Tells where the system has less than Linux."""
    if not _is_linux():
        log.warning("hardening.partial", missing="PR_SET_DUMPABLE", platform=sys.platform)


def _is_linux() -> bool:
    return sys.platform == "linux"


def _prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    unused = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(argument), unused, unused, unused) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
