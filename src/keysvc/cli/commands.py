"""The commands of the `keysvc` program. A failure to start is one line that says what to do, and exit code 1."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from keysvc.cli import (
    audit,
    database,
    development,
    fleet,
    hardening,
    hsm,
    logs,
    moving,
    remote,
    rotate,
    sharing,
    wiring,
    worker,
)
from keysvc.cli.certificates import DevCertificates, key_of
from keysvc.cli.first_admin import ADMIN, ensure_admin, replace_password
from keysvc.cli.settings import check_encryption, read_settings, read_so_pin
from keysvc.hsm.connection import WrongPin
from keysvc.hsm.lacks import SETTING, Lack
from keysvc.hsm.module import Module
from keysvc.hsm.provisioning import Made
from keysvc.model.errors import KeysvcError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(database.app, name="db")
app.add_typer(audit.app, name="audit")
app.add_typer(hsm.app, name="hsm")
app.command("import")(moving.import_)
app.command()(moving.export)
app.command()(rotate.rotate)
app.command()(fleet.status)


def run() -> None:
    """The command that the arguments name. `keysvc.cli.main` comes before it."""
    try:
        hardening.harden()
        app()
    except (KeysvcError, remote.Stopped) as error:
        sys.stderr.write(f"keysvc: {error}\n")
        sys.exit(remote.EXIT_STOPPED if isinstance(error, remote.Stopped) else 1)


@app.callback()
def keysvc() -> None:
    """Merchants' API credentials, made and used inside a PKCS#11 token, over gRPC.

    Settings are environment variables, KEYSVC_…; docs/configuration.md lists them.
    """


@app.command()
def dev(
    *,
    tls: Annotated[
        bool, typer.Option("--tls", help="Encrypt calls, with a CA and certificates of its own, made if missing.")
    ] = False,
) -> None:
    """Serve on loopback with a token and a database of its own, made if they are missing."""
    look = logs.for_people()
    logs.to_stderr(look)
    hardening.log_what_is_missing()
    if tls:
        settings, certificates = development.encrypted(read_settings(), wiring.now())
    else:
        settings, certificates = development.plain(read_settings()), None
    check_encryption(settings)
    settings, module = development.provision(settings)
    config = wiring.token_config(settings)
    wiring.upgrade_database(settings)
    wiring.make_token_keys(module, config, config.pin)
    admin_file = settings.home / "admin-credentials"
    with wiring.opened(settings, module, config) as core:
        admins = wiring.initialised(core)
        if not ensure_admin(admins, admin_file) and not admin_file.exists():
            replace_password(admins, admin_file)
        if tls:
            development.identify_admin(core)

    def ready(address: str, mtls_address: str | None) -> None:
        also = f", clients with certificates on {mtls_address}" if mtls_address else ""
        told = f"keysvc dev: serving on {address}, state in {settings.home}{also}; try"
        typer.echo("\n  ".join([told, *_grpcurl_lines(address, mtls_address, admin_file, certificates)]))

    wiring.serve(settings, lambda: module, config, wiring.Front(look.call, ready))


@app.command()
def serve(
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many processes serve on the port. [KEYSVC_WORKERS, or 1]")
    ] = None,
) -> None:
    """Serve with the token and database that the settings name. Makes no keys: `keysvc init` does."""
    look = logs.for_machines()
    logs.to_stderr(look)
    hardening.log_what_is_missing()
    settings = read_settings()
    check_encryption(settings)

    def ready(address: str, mtls_address: str | None) -> None:
        also = f", clients with certificates on {mtls_address}" if mtls_address else ""
        typer.echo(f"serving on {address}{also}")

    number = workers or settings.workers
    if number > 1:
        sys.exit(sharing.serve(settings, number, ready))
    config = wiring.token_config(settings)
    wiring.serve(settings, lambda: Module(config.module_path), config, wiring.Front(look.call, ready))


@app.command("worker", hidden=True)
def serve_as_worker(number: int) -> None:
    """One of the processes of `keysvc serve --workers`, which alone starts it."""
    worker.end_with_parent()
    look = logs.for_worker(number)
    logs.to_stderr(look)
    settings = read_settings()
    config = wiring.token_config(settings)
    front = wiring.Front(look.call, lambda _address, _mtls_address: worker.say_ready(), shares_port=True)
    try:
        wiring.serve(settings, lambda: Module(config.module_path), config, front)
    except WrongPin as error:
        sys.stderr.write(f"keysvc: {error}\n")
        sys.exit(worker.NEVER_AGAIN)


@app.command()
def init(
    admin_credentials: Annotated[
        Path, typer.Option(help="Where to write the first administrator's NAME:PASSWORD, mode 0600.")
    ] = Path("admin-credentials"),
    *,
    renew_admin: Annotated[
        bool, typer.Option("--renew-admin", help="Give the first administrator a new password: the old one is lost.")
    ] = False,
) -> None:
    """Make the token's own keys and the first administrator, where they are missing."""
    settings = read_settings()
    config = wiring.token_config(settings)
    module = Module(config.module_path)
    made = wiring.make_token_keys(module, config, read_so_pin(settings))
    done = _told(made)
    with wiring.opened(settings, module, config) as core:
        admins = wiring.initialised(core)
        if ensure_admin(admins, admin_credentials):
            done.append(f"made principal {ADMIN}, its credentials in {admin_credentials}")
        elif renew_admin:
            replace_password(admins, admin_credentials)
            done.append(f"renewed the password of {ADMIN}, its credentials in {admin_credentials}")
        admins.note_run()
        if Lack.ANCHOR not in made.lacking:
            core.anchoring.advance()
    typer.echo("\n".join(done) or "nothing was missing")


def _told(made: Made) -> list[str]:
    """A line for each key, and for what is not as it could be."""
    lines = [f"made token key {label}" for label in made.labels]
    if made.wrapping_key_stays:
        lines.append(
            "the wrapping key can be replaced only by renewing every key that it wraps: it is not trusted"
            " (KEYSVC_SO_PIN_FILE is not set, or the token knows no CKA_TRUSTED)"
        )
    return lines + [f"the token lacks {lack}, as {SETTING} allows: {lack.threat}" for lack in sorted(made.lacking)]


def _grpcurl_lines(
    address: str, mtls_address: str | None, admin_file: Path, certificates: DevCertificates | None
) -> list[str]:
    """Lines that work in a POSIX shell, in this directory: one with the password, one with the certificate."""
    password = f'-H "authorization: Basic $(base64 -w0 < {shlex.quote(str(admin_file))})"'
    if certificates is None or mtls_address is None:
        return [_grpcurl_line(f"-plaintext {password}", address)]
    ca = f"-cacert {shlex.quote(str(certificates.ca))}"
    admin = f"-cert {shlex.quote(str(certificates.admin))} -key {shlex.quote(str(key_of(certificates.admin)))}"
    return [_grpcurl_line(f"{ca} {password}", address), _grpcurl_line(f"{ca} {admin}", mtls_address)]


def _grpcurl_line(options: str, address: str) -> str:
    beside = Path(sys.executable).with_name("grpcurl")
    program = os.path.relpath(beside) if beside.exists() else "grpcurl"
    if address.startswith("unix:"):
        # A path is no name that a certificate could hold.
        options = f"-unix -servername localhost {options}" if "-cacert" in options else f"-unix {options}"
    target = shlex.quote(address.removeprefix("unix:"))
    return f"{shlex.quote(program)} {options} {target} keysvc.v1.MerchantService/ListMerchants"
