"""Makes what docker-compose.yml's `keysvc serve` is pointed at, where it is missing. Production brings its own.

Under KEYSVC_HOME: a SoftHSM token and its PIN, a CA and certificates, and the database's password as libpq reads it.
In the directory DATABASE_SECRET: the password alone, for the database to take. Each has a volume of its own, so
that the database never sees the PIN.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from cryptography import x509

from keysvc.cli import development, wiring
from keysvc.cli.certificates import ensure_certificates
from keysvc.cli.files import write_private
from keysvc.cli.hardening import harden
from keysvc.cli.settings import read_settings
from keysvc.model.errors import KeysvcError

REPLICAS = ("keysvc-1", "keysvc-2")
"""Their names on the compose network."""
PGPASS = "db:5432:keysvc:keysvc:"


def main() -> None:
    harden()
    settings = read_settings()
    development.provision(settings)
    ensure_certificates(settings.home / "tls", wiring.now(), tuple(x509.DNSName(name) for name in REPLICAS))
    password_file = Path(os.environ["DATABASE_SECRET"]) / "password"
    if not password_file.exists():
        write_private(password_file, secrets.token_urlsafe(24))
    write_private(settings.home / "pgpass", PGPASS + password_file.read_text())


if __name__ == "__main__":
    try:
        main()
    except KeysvcError as error:
        sys.exit(f"provision.py: {error}")
