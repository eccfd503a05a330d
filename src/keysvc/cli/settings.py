"""Settings, from `KEYSVC_…` environment variables. Secrets come from files, never from arguments."""

from __future__ import annotations

import ipaddress
import stat
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from keysvc.model.errors import Misconfigured


class Settings(BaseSettings):
    """All settings of keysvc."""

    model_config = SettingsConfigDict(env_prefix="KEYSVC_", frozen=True)

    home: Annotated[Path, Field(description="All state of `keysvc dev`")] = Path("var")
    listen: Annotated[str, Field(description="HOST:PORT (port 0: any free one), or unix:PATH")] = "127.0.0.1:50051"
    database_url: Annotated[str | None, Field(description="sqlite:///PATH or postgresql://HOST/NAME")] = None
    pkcs11_module: Annotated[Path | None, Field(description="The token vendor's PKCS#11 library")] = None
    token_label: Annotated[str, Field(description="The token, by its label")] = "keysvc"  # noqa: S105
    pin_file: Annotated[Path | None, Field(description="A file that holds the token's user PIN")] = None
    threads: Annotated[int, Field(description="Calls handled at once", ge=1, le=256)] = 16
    max_waiting: Annotated[int, Field(description="Calls that may wait; more are turned away", ge=1)] = 1000
    handle_cache: Annotated[int, Field(description="Unwrapped keys kept in the token, about 11 KiB each", ge=1)] = 4096


_MAX_PORT = 65535


def check_listen(listen: str) -> None:
    """Raises Misconfigured unless it is an address that never leaves this machine: calls are not encrypted."""
    if listen.startswith("unix:"):
        return
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > _MAX_PORT:
        raise Misconfigured(f"KEYSVC_LISTEN is {listen}: write HOST:PORT, the port from 0 to {_MAX_PORT}, or unix:PATH")
    if not _is_loopback(host):
        raise Misconfigured(
            f"KEYSVC_LISTEN is {listen}, and calls are not encrypted: listen on loopback or a Unix socket"
        )


def _is_loopback(host: str) -> bool:
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
    check_listen(settings.listen)
    return settings


def require_path(path: Path | None, variable: str) -> Path:
    """Raises Misconfigured where the setting is absent."""
    if path is None:
        raise Misconfigured(f"Set {variable}")
    return path


def read_pin(path: Path) -> str:
    """The PIN; raises Misconfigured where the file cannot be read, is empty, or can be read by others."""
    try:
        mode = path.stat().st_mode
        pin = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"Cannot read the PIN file {path}: {_why(error)}. Set KEYSVC_PIN_FILE") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Misconfigured(f"The PIN file {path} can be read by others: chmod 600 it")
    if not pin:
        raise Misconfigured(f"The PIN file {path} is empty")
    return pin


def _why(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is not text"
