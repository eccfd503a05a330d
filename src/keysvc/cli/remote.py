"""What commands that work over gRPC share: where keysvc is, who asks, and how a failed call is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from keysvc.cli.files import read_private
from keysvc.cli.settings import Settings, read_settings
from keysvc.client import Basic, CallFailed, Client, Tls
from keysvc.model.changing import LONGEST
from keysvc.model.errors import Misconfigured

EXIT_STOPPED = 3
"""Apart from failing, so that a program can tell."""
MOST_DAYS = LONGEST.days
"""What the service takes for any length of time."""


class Stopped(Exception):
    """A command ended where it is not safe to go on. Its text says why, and how to go on."""


@contextmanager
def connected() -> Iterator[Client]:
    """As the settings say. Raises Misconfigured for what cannot be used, and where keysvc is not there or refuses."""
    settings = read_settings()
    target = settings.address or settings.listen
    tls = _tls(settings)
    try:
        client = Client(target, _authorization(settings), tls=tls)
    except OSError as error:
        raise Misconfigured(f"Cannot read {error.filename}: {error.strerror}") from None
    except ValueError:
        raise Misconfigured(f"{target} is not on loopback, so it needs TLS: set KEYSVC_CA") from None
    with client:
        try:
            yield client
        except CallFailed as error:
            raise Misconfigured(_told(error, target)) from None


def merchant_name(merchant: str) -> str:
    """Of an id, or of a name."""
    return merchant if merchant.startswith("merchants/") else f"merchants/{merchant}"


def is_watched() -> bool:
    """Whether a person reads: then there are tables and colour, and otherwise plain lines."""
    return sys.stdout.isatty()


def _tls(settings: Settings) -> Tls | None:
    if settings.ca is settings.client_certificate is settings.client_key is None:
        return None
    if (settings.client_certificate is None) != (settings.client_key is None):
        missing = "KEYSVC_CLIENT_CERTIFICATE" if settings.client_certificate is None else "KEYSVC_CLIENT_KEY"
        raise Misconfigured(f"Set {missing} too: a certificate and its key go together")
    if settings.client_key is not None:
        read_private(settings.client_key, "client key", "KEYSVC_CLIENT_KEY")
    return Tls(settings.ca, settings.client_certificate, settings.client_key)


def _authorization(settings: Settings) -> Basic | None:
    """A certificate is proof enough, unless a password is named too."""
    if settings.credentials_file is None and settings.client_certificate is not None:
        return None
    path = settings.credentials_file or settings.home / "admin-credentials"
    text = read_private(path, "credentials file", "KEYSVC_CREDENTIALS_FILE").decode(errors="replace")
    try:
        return Basic.parse(text, str(path))
    except ValueError as error:
        raise Misconfigured(f"{error}. Set KEYSVC_CREDENTIALS_FILE") from None


def _told(error: CallFailed, target: str) -> str:
    if error.reason:
        return f"{error.message} ({error.reason})"
    if error.code == "UNAVAILABLE":
        return f"keysvc does not answer on {target}: is it running there? Set KEYSVC_ADDRESS; with TLS, KEYSVC_CA too"
    return f"The call failed with {error.code}: {error.message}"
