"""Where the `keysvc` program begins: what its environment must hold before anything else is loaded.

Owns nothing but that. The commands are `keysvc.cli.commands`'s. See docs/decisions/0020.
"""

from __future__ import annotations

import os
import sys

# gRPC's core writes notes of its own to stderr unless told not to before it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

_SERVING = ("dev", "serve")
_TUNABLES = "GLIBC_TUNABLES"
"""Read by the C library as a process begins, and never again."""
_TUNED = "glibc.malloc.tcache_count=127"
"""How many freed blocks of a size each thread keeps at hand: a MAC in SoftHSM frees more than the 7 that it would."""


def run() -> None:
    """The program's entry."""
    if sys.argv[1:] and sys.argv[1] in _SERVING:
        _begin_tuned()
    from keysvc.cli import commands  # noqa: PLC0415 - after the environment

    commands.run()


def _begin_tuned() -> None:
    """Becomes the same program with the C library told, unless somebody told it anything. The process id stays."""
    if _TUNABLES in os.environ or sys.platform != "linux" or not sys.executable:
        return
    os.environ[_TUNABLES] = _TUNED
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - what was started, once more


if __name__ == "__main__":
    run()
