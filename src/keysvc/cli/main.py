"""The `keysvc` program. A failure to start is one line that says what to do, and exit code 1."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

# gRPC's core writes notes of its own to stderr unless told not to before it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import structlog
import typer

from keysvc.cli import audit, development, wiring
from keysvc.cli.first_admin import ADMIN, ensure_admin, replace_password
from keysvc.cli.settings import read_settings
from keysvc.hsm.module import Module
from keysvc.model.errors import KeysvcError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
database = typer.Typer(no_args_is_help=True, help="The database's schema.")
app.add_typer(database, name="db")
app.add_typer(audit.app, name="audit")


def run() -> None:
    """The program's entry."""
    os.umask(0o077)
    try:
        app()
    except KeysvcError as error:
        sys.stderr.write(f"keysvc: {error.message}\n")
        sys.exit(1)


@app.callback()
def keysvc() -> None:
    """Merchants' API credentials, made and used inside a PKCS#11 token, over gRPC.

    Settings are environment variables, KEYSVC_…; docs/configuration.md lists them.
    """


@app.command()
def dev() -> None:
    """Serve on loopback with a token and a database of its own, made if they are missing."""
    _log_to_stderr(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    settings, module = development.provision(read_settings())
    config = wiring.token_config(settings)
    wiring.upgrade_database(settings)
    wiring.make_token_keys(module, config)
    admin_file = settings.home / "admin-credentials"
    with wiring.opened(settings, module, config) as core:
        admins = wiring.initialised(core)
        if not ensure_admin(admins, admin_file) and not admin_file.exists():
            replace_password(admins, admin_file)

    def ready(address: str) -> None:
        typer.echo(f"keysvc dev: serving on {address}, state in {settings.home}; try")
        typer.echo(f"  {_grpcurl_line(address, admin_file)}")

    wiring.serve(settings, module, config, ready)


@app.command()
def serve() -> None:
    """Serve with the token and database that the settings name. Makes no keys: `keysvc init` does."""
    _log_to_stderr(structlog.processors.JSONRenderer())
    settings = read_settings()
    config = wiring.token_config(settings)
    wiring.serve(settings, Module(config.module_path), config, lambda address: typer.echo(f"serving on {address}"))


@app.command()
def init(
    admin_credentials: Annotated[
        Path, typer.Option(help="Where to write the first administrator's NAME:PASSWORD, mode 0600.")
    ] = Path("admin-credentials"),
) -> None:
    """Make the token's own keys and the first administrator, where they are missing."""
    settings = read_settings()
    config = wiring.token_config(settings)
    module = Module(config.module_path)
    done = [f"made token key {label}" for label in wiring.make_token_keys(module, config)]
    with wiring.opened(settings, module, config) as core:
        admins = wiring.initialised(core)
        if ensure_admin(admins, admin_credentials):
            done.append(f"made principal {ADMIN}, its credentials in {admin_credentials}")
        admins.note_run()
    typer.echo("\n".join(done) or "nothing was missing")


@database.command("upgrade")
def upgrade() -> None:
    """Bring the database to the newest schema."""
    before, after = wiring.upgrade_database(read_settings())
    typer.echo(f"the database is at schema {after}" + ("" if before == after else f", it was at {before or 'none'}"))


def _grpcurl_line(address: str, admin_file: Path) -> str:
    """A line that works in a POSIX shell, in this directory."""
    beside = Path(sys.executable).with_name("grpcurl")
    program = os.path.relpath(beside) if beside.exists() else "grpcurl"
    header = f'-H "authorization: Basic $(base64 -w0 < {shlex.quote(str(admin_file))})"'
    if address.startswith("unix:"):
        header = f"-unix {header}"
    target = address.removeprefix("unix:")
    return f"{shlex.quote(program)} -plaintext {header} {target} keysvc.v1.MerchantService/ListMerchants"


def _log_to_stderr(renderer: structlog.typing.Processor) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
