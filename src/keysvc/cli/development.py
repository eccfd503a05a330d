"""`keysvc dev`: a token and a database of its own, under one directory. The only code that knows SoftHSM."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from keysvc.cli.files import private_directory, write_private
from keysvc.cli.settings import Settings
from keysvc.hsm.module import Module
from keysvc.model.errors import Misconfigured
from keysvc.store.engine import sqlite_url

_MODULE_PATHS = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
_PIN_BYTES = 16


def provision(settings: Settings) -> tuple[Settings, Module]:
    """Makes the directory, the PIN and the token that are missing; returns the settings that name them.

    A token is made under another name and moved into place when it is whole, so a crash leaves none
    or a whole one.
    """
    home = settings.home
    if "#" in str(home.absolute()):
        raise Misconfigured(
            f"SoftHSM cannot keep a token in {home.absolute()}, for its '#': set KEYSVC_HOME to another"
        )
    if settings.pin_file is not None:
        raise Misconfigured("KEYSVC_PIN_FILE is not for `keysvc dev`, which makes a token and PIN of its own: unset it")
    private_directory(home)
    pin_file, tokens, configuration = home / "pin", home / "tokens", home / "softhsm2.conf"
    if not pin_file.exists():
        if tokens.exists():
            raise Misconfigured(f"{tokens} has lost its PIN file {pin_file}: put it back, or remove {home}")
        write_private(pin_file, secrets.token_hex(_PIN_BYTES))
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    module_path = settings.pkcs11_module or _find_module()
    label = settings.token_label
    if tokens.exists():
        _configure(configuration, tokens)
        module = Module(str(module_path))
    else:
        unfinished = home / "tokens.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        private_directory(unfinished)
        _configure(configuration, unfinished)
        module = Module(str(module_path))
        module.make_token(label, pin_file.read_text())
        unfinished.rename(tokens)
        _configure(configuration, tokens)
        module.reset()
    named = {
        "pkcs11_module": module_path,
        "pin_file": pin_file,
        "database_url": settings.database_url or sqlite_url(home / "keysvc.db"),
    }
    return settings.model_copy(update=named), module


def _find_module() -> Path:
    found = next((Path(path) for path in _MODULE_PATHS if Path(path).is_file()), None)
    if found is None:
        raise Misconfigured("SoftHSM is not installed: run `make run`, or set KEYSVC_PKCS11_MODULE to its library")
    return found


def _configure(configuration: Path, tokens: Path) -> None:
    write_private(
        configuration,
        f"directories.tokendir = {tokens.absolute()}\nobjectstore.backend = file\nlog.level = ERROR\n",
    )
