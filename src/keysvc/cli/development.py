"""`keysvc dev`: a token and a database of its own, under one directory. The only code that knows SoftHSM."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from keysvc.cli.assembly import Core
from keysvc.cli.certificates import ADMIN_SPIFFE_ID, DevCertificates, ensure_certificates, key_of
from keysvc.cli.files import private_directory, write_private
from keysvc.cli.first_admin import ADMIN
from keysvc.cli.settings import Settings
from keysvc.hsm.module import Module
from keysvc.model.errors import AlreadyExists, Misconfigured
from keysvc.service.calls import itself
from keysvc.service.principals import Passwords, Principals
from keysvc.store.engine import sqlite_url

_MODULE_PATHS = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
_PIN_BYTES = 16
_PIN_NAME = "pin"
_MTLS_LISTEN = "127.0.0.1:50052"


def plain(settings: Settings) -> Settings:
    """The settings, if they ask for no encryption. Raises Misconfigured otherwise."""
    _refuse_certificates(settings)
    if settings.mtls_listen is not None:
        raise Misconfigured("KEYSVC_MTLS_LISTEN is for `keysvc dev --tls`: give --tls, or unset it")
    return settings


def encrypted(settings: Settings, now: datetime) -> tuple[Settings, DevCertificates]:
    """Makes the certificates that are missing or near their end; returns the settings that name them."""
    _refuse_certificates(settings)
    private_directory(settings.home, _PIN_NAME)
    files = ensure_certificates(settings.home / "tls", now)
    named = {
        "tls_certificate": files.server,
        "tls_key": key_of(files.server),
        "tls_client_ca": files.ca,
        "mtls_listen": settings.mtls_listen or _MTLS_LISTEN,
    }
    return settings.model_copy(update=named), files


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
    private_directory(home, _PIN_NAME)
    pin_file, tokens, configuration = home / _PIN_NAME, home / "tokens", home / "softhsm2.conf"
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


def identify_admin(core: Core) -> None:
    """Gives the administrator the SPIFFE id of its certificate, unless it has another, or another has it."""
    principals = Principals(core.store, Passwords(core.token, core.digester), core.sealer, core.now)
    if principals.get(ADMIN).spiffe_id is None:
        with suppress(AlreadyExists):
            principals.update(itself("dev"), ADMIN, "", {"spiffe_id": ADMIN_SPIFFE_ID})


def _refuse_certificates(settings: Settings) -> None:
    for name in ("tls_certificate", "tls_key", "tls_client_ca"):
        if getattr(settings, name) is not None:
            raise Misconfigured(
                f"KEYSVC_{name.upper()} is not for `keysvc dev`, which makes certificates of its own with --tls:"
                " unset it"
            )


def found(settings: Settings) -> Settings:
    """The settings that name the token and database of `keysvc dev`. Makes nothing; raises Misconfigured where one of
    them is missing."""
    home = settings.home
    pin_file, configuration = home / "pin", home / "softhsm2.conf"
    database = [] if settings.database_url else [home / "keysvc.db"]
    missing = next((path for path in [pin_file, home / "tokens", configuration, *database] if not path.exists()), None)
    if missing is not None:
        raise Misconfigured(f"There is no {missing}: set KEYSVC_HOME to where `keysvc dev` keeps its state")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    named = {
        "pkcs11_module": settings.pkcs11_module or _find_module(),
        "pin_file": pin_file,
        "database_url": settings.database_url or sqlite_url(home / "keysvc.db"),
    }
    return settings.model_copy(update=named)


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
