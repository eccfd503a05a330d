"""openCryptoki: its software token, and its daemon, in namespaces that nothing of the machine's own is touched from.

It has one place for its configuration, its tokens, its locks and its daemon's socket. So a command that is to use it
runs in mount, IPC and process namespaces of its own, where those places are empty and a daemon of its own runs: all
of it ends with the command. No rights are needed where the kernel gives user namespaces.

`python -m support.opencryptoki COMMAND...` runs inside, and is what `command` starts.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from keysvc.hsm import lacks, provisioning
from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.module import Module
from keysvc.hsm.wrapping import Wrap
from support.softhsm import Tokens

LACKS = "unwrap-template,allowed-mechanisms,encryption"
"""What it lacks, as KEYSVC_ALLOW_LACKS says it."""
SO_PIN, PIN = "so-pin-1", "test-pin"
"""It takes 4 to 8 characters."""
_DAEMON = Path("/usr/sbin/pkcsslotd")
_TOKENS = Path("/var/lib/opencryptoki")
_SOCKET = Path("/run/pkcsslotd.socket")
_SLOTS = 32
_FIRST_SO_PIN = "87654321"
_LABEL_BYTES = 32
_INIT_TOKEN = 9
_START_SECONDS = 20.0
_EMPTY = ("/run", "/dev/shm", "/etc/opencryptoki", str(_TOKENS))


def module_path() -> str:
    """Where Debian puts it, by the machine's architecture; empty where it is not installed."""
    return next((str(path) for path in Path("/usr/lib").glob("*/opencryptoki/libopencryptoki.so.0")), "")


def command(*arguments: str) -> list[str]:
    """What runs `arguments` with openCryptoki."""
    namespaces = ["unshare", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    as_root = ["--map-root-user"] if os.geteuid() else []
    return [*namespaces, *as_root, sys.executable, "-m", __name__, *arguments]


def why_not() -> str | None:
    """Why it cannot be run here."""
    if not module_path() or not _DAEMON.exists() or shutil.which("unshare") is None:
        return "openCryptoki is not installed: apt install opencryptoki"
    tried = subprocess.run(
        command("true"), env=environment(), capture_output=True, text=True, check=False, timeout=_START_SECONDS
    )
    return None if tried.returncode == 0 else f"openCryptoki cannot be run in namespaces: {tried.stderr.strip()[-300:]}"


def environment() -> dict[str, str]:
    """This process's, with its modules, and with nothing of the pytest that it may be a part of."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "KEYSVC_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path)}


class OpencryptokiTokens(Tokens):
    """Those that were made before this process began."""

    def blank(self) -> TokenConfig:
        """A new token without keys."""
        label = _label(next(self._numbers))
        return TokenConfig(self.module.so, label, PIN, workers=4, handle_cache=64, allowed=self.lacking)

    def with_keys(self) -> TokenConfig:
        """A new token with keysvc's five keys."""
        config = self.blank()
        provisioning.make_missing(self.module, config, SO_PIN)
        return config


def tokens() -> OpencryptokiTokens:
    """In this process, which runs inside the namespaces."""
    return OpencryptokiTokens(Module(module_path()), _TOKENS, lacks.read(LACKS), Wrap.CBC_PAD)


def _make_tokens() -> None:
    """Not in the process that uses them: its C_InitToken crashes once there are token keys."""
    module = Module(module_path())
    for number, slot in enumerate(module.get_slots()):
        _make_token(module, slot.slot_id, _label(number))


def _label(number: int) -> str:
    return f"test-{number}"


def _make_token(module: Module, slot_id: int, label: str) -> None:
    """Both PINs must be changed before anything else is done."""
    pin = _FIRST_SO_PIN.encode()
    code = module._call(
        _INIT_TOKEN, ctypes.c_ulong(slot_id), pin, ctypes.c_ulong(len(pin)), label.encode().ljust(_LABEL_BYTES)
    )
    assert code == 0, hex(code)
    token = module.token(label)
    with token.open(rw=True, so_pin=_FIRST_SO_PIN) as session:
        session.set_pin(_FIRST_SO_PIN, SO_PIN)
        session.init_pin("user-pin")
    with token.open(rw=True, user_pin="user-pin") as session:
        session.set_pin("user-pin", PIN)


def main(arguments: Sequence[str]) -> int:
    """Inside the namespaces: the daemon, the command, and the daemon's end."""
    for place in _EMPTY:
        _run("mount", "-t", "tmpfs", "none", place)
    _be_the_group()
    slots = [f"slot {n}\n{{\nstdll = libpkcs11_sw.so\ntokname = keysvc-{n}\n}}\n" for n in range(_SLOTS)]
    Path("/etc/opencryptoki/opencryptoki.conf").write_text("version opencryptoki-3.8\n" + "".join(slots))
    for number in range(_SLOTS):
        (_TOKENS / f"keysvc-{number}" / "TOK_OBJ").mkdir(parents=True)
        Path(f"/run/lock/opencryptoki/keysvc-{number}").mkdir(parents=True)
    daemon = subprocess.Popen([_DAEMON, "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _SOCKET.exists():
            assert daemon.poll() is None, "pkcsslotd does not start"
            assert time.monotonic() < deadline, "pkcsslotd does not come up"
            time.sleep(0.01)
        making = multiprocessing.Process(target=_make_tokens)
        making.start()
        making.join()
        assert making.exitcode == 0, "the tokens cannot be made"
        return subprocess.run(arguments, check=False).returncode
    finally:
        daemon.terminate()
        daemon.wait()


def _be_the_group() -> None:
    """All of it belongs to a group named pkcs11. One user's namespace knows no other group than that user's."""
    groups = Path("/run/group")
    groups.write_text("pkcs11:x:0:\n")
    _run("mount", "--bind", str(groups), "/etc/group")


def _run(*arguments: str) -> None:
    subprocess.run(arguments, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
