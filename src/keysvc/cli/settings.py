"""Settings, from `KEYSVC_…` environment variables. Secrets come from files, never from arguments."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from keysvc.cli.files import read_private
from keysvc.model.errors import Misconfigured


class Settings(BaseSettings):
    """All settings of keysvc."""

    model_config = SettingsConfigDict(env_prefix="KEYSVC_", frozen=True)

    home: Annotated[Path, Field(description="All state of `keysvc dev`")] = Path("var")
    listen: Annotated[str, Field(description="HOST:PORT (port 0: any free one), or unix:PATH")] = "127.0.0.1:50051"
    tls_certificate: Annotated[Path | None, Field(description="The server's certificate and its chain, PEM")] = None
    tls_key: Annotated[Path | None, Field(description="The certificate's key, PEM; mode 0600")] = None
    tls_client_ca: Annotated[Path | None, Field(description="The CA of clients' certificates, PEM")] = None
    mtls_listen: Annotated[
        str | None, Field(description="A second address, where a client must show a certificate of that CA")
    ] = None
    connection_age: Annotated[int, Field(description="Seconds after which a connection ends", ge=1, le=86400)] = 3600
    database_url: Annotated[str | None, Field(description="sqlite:///PATH or postgresql://HOST/NAME")] = None
    pkcs11_module: Annotated[Path | None, Field(description="The token vendor's PKCS#11 library")] = None
    token_label: Annotated[str, Field(description="The token, by its label")] = "keysvc"  # noqa: S105
    pin_file: Annotated[Path | None, Field(description="A file that holds the token's user PIN")] = None
    so_pin_file: Annotated[
        Path | None, Field(description="A file that holds the security officer's PIN, for `init` and `hsm`")
    ] = None
    allow_lacks: Annotated[str | None, Field(description="What the token may lack, with commas between the words")] = (
        None
    )
    workers: Annotated[int, Field(description="Processes of `keysvc serve` on its port", ge=1, le=64)] = 1
    drain_delay: Annotated[
        float,
        Field(description="Seconds to serve on after SIGTERM, NOT_SERVING", ge=0, le=300),
    ] = 0
    threads: Annotated[int, Field(description="Calls handled at once", ge=1, le=256)] = 16
    max_waiting: Annotated[int, Field(description="Calls that may wait; more are turned away", ge=1)] = 1000
    failed_authentications: Annotated[
        int, Field(description="Wrong proofs a minute, by address and claimed principal, before more are refused", ge=1)
    ] = 60
    failed_verifications: Annotated[
        int, Field(description="Wrong signatures a minute, by caller and merchant, before more are refused", ge=1)
    ] = 6000
    handle_cache: Annotated[int, Field(description="Unwrapped keys kept in the token, about 11 KiB each", ge=1)] = 4096
    token_refresh: Annotated[
        int, Field(description="Keys unwrapped or made until the token's library is initialised anew; 0: never", ge=0)
    ] = 200_000
    anchor_seconds: Annotated[
        int, Field(description="Seconds between two writes of the anchor into the token, at least", ge=1, le=3600)
    ] = 60
    log_calls: Annotated[bool, Field(description="A line in the log for each call")] = True
    metrics_listen: Annotated[str | None, Field(description="HOST:PORT of the metrics, for Prometheus")] = None
    traces: Annotated[bool, Field(description="A span for each call, sent by OTLP over HTTP")] = False
    address: Annotated[str | None, Field(description="Where `keysvc rotate` and `keysvc status` find keysvc")] = None
    credentials_file: Annotated[
        Path | None, Field(description="A file with NAME:PASSWORD of who gives these commands; mode 0600")
    ] = None
    ca: Annotated[Path | None, Field(description="The CA of the server's certificate, for these commands, PEM")] = None
    client_certificate: Annotated[
        Path | None, Field(description="A certificate of who gives them, in the place of a password, PEM")
    ] = None
    client_key: Annotated[Path | None, Field(description="That certificate's key, PEM")] = None


MAX_PORT = 65535
_URL_PASSWORD = re.compile(r"\w+(\+\w+)?://[^:/]*:[^@]*@")
"""Where SQLAlchemy looks for a password in a URL."""
_SECRET_PARAMETERS = frozenset({"password", "sslpassword"})
"""Those of libpq (PostgreSQL's documentation, 32.1.2)."""


def check_listen(listen: str, variable: str) -> None:
    """Raises Misconfigured unless it is an address."""
    if listen.startswith("unix:"):
        return
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > MAX_PORT:
        raise Misconfigured(f"{variable} is {listen}: write HOST:PORT, the port from 0 to {MAX_PORT}, or unix:PATH")


def check_encryption(settings: Settings) -> None:
    """Raises Misconfigured where a setting lacks another, or plain calls could leave this machine."""
    _check_tls(settings)
    listen = settings.listen
    if settings.tls_certificate is None and not listen.startswith("unix:") and not _is_loopback(listen):
        raise Misconfigured(
            f"KEYSVC_LISTEN is {listen}, and calls are not encrypted:"
            " set KEYSVC_TLS_CERTIFICATE and KEYSVC_TLS_KEY, or listen on loopback or a Unix socket"
        )


def _check_tls(settings: Settings) -> None:
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        missing = "KEYSVC_TLS_CERTIFICATE" if settings.tls_certificate is None else "KEYSVC_TLS_KEY"
        raise Misconfigured(f"Set {missing} too: a certificate and its key go together")
    if settings.mtls_listen is not None and settings.tls_certificate is None:
        raise Misconfigured("Set KEYSVC_TLS_CERTIFICATE and KEYSVC_TLS_KEY too: KEYSVC_MTLS_LISTEN needs them")
    if (settings.mtls_listen is None) != (settings.tls_client_ca is None):
        missing = "KEYSVC_MTLS_LISTEN" if settings.mtls_listen is None else "KEYSVC_TLS_CLIENT_CA"
        raise Misconfigured(f"Set {missing} too: clients' certificates are taken at an address, by a CA")


def check_database_url(url: str) -> None:
    """Raises Misconfigured where the database's password stands in the environment, which others may read."""
    query = url.partition("?")[2]
    names = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    in_url = _URL_PASSWORD.match(url) is not None or not _SECRET_PARAMETERS.isdisjoint(names)
    if in_url or (url.startswith("postgresql") and "PGPASSWORD" in os.environ):
        place = "KEYSVC_DATABASE_URL" if in_url else "PGPASSWORD"
        raise Misconfigured(f"{place} holds a password: put it in ~/.pgpass or the file that PGPASSFILE names")


def _is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def read_settings() -> Settings:
    """Raises Misconfigured naming the first variable that is wrong."""
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise Misconfigured(f"KEYSVC_{name}: {first['msg']}") from None
    check_listen(settings.listen, "KEYSVC_LISTEN")
    if settings.mtls_listen is not None:
        check_listen(settings.mtls_listen, "KEYSVC_MTLS_LISTEN")
    check_database_url(settings.database_url or "")
    return settings


def require_path(path: Path | None, variable: str) -> Path:
    """Raises Misconfigured where the setting is absent."""
    if path is None:
        raise Misconfigured(f"Set {variable}")
    return path


def read_pin(path: Path) -> str:
    """The PIN; raises Misconfigured where the file cannot be read, is empty, or can be read by others."""
    return _read_pin(path, "KEYSVC_PIN_FILE")


def read_so_pin(settings: Settings) -> str | None:
    """The security officer's; None where no file is set. Raises as `read_pin` does."""
    return None if settings.so_pin_file is None else _read_pin(settings.so_pin_file, "KEYSVC_SO_PIN_FILE")


def _read_pin(path: Path, variable: str) -> str:
    try:
        pin = read_private(path, "PIN file", variable).decode().strip()
    except UnicodeDecodeError:
        raise Misconfigured(f"Cannot read the PIN file {path}: it is not text. Set {variable}") from None
    if not pin:
        raise Misconfigured(f"The PIN file {path} is empty")
    return pin


def read_tls_key(path: Path) -> bytes:
    """PEM; raises Misconfigured where the file cannot be read, or can be read by others."""
    return read_private(path, "TLS key", "KEYSVC_TLS_KEY")
