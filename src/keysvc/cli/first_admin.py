"""The first administrator and the file with its credentials: either both are there, or a new start makes both."""

from __future__ import annotations

from pathlib import Path

from keysvc.cli.files import write_private
from keysvc.model.secrets import SecretText
from keysvc.service.bootstrap import Admins

ADMIN = "admin"


def ensure_admin(admins: Admins, file: Path) -> bool:
    """Makes the administrator unless there is one, and the file; finishes what a crash cut off. True where it did."""
    pending = _pending(file)
    if pending.exists() and admins.has_password(ADMIN, SecretText(pending.read_text().partition(":")[2])):
        pending.replace(file)
        return True
    if admins.exists(ADMIN):
        return False
    replace_password(admins, file)
    return True


def replace_password(admins: Admins, file: Path) -> None:
    """A new password for the administrator, who is made where there is none. The old one stops at once."""
    password = admins.new_password()
    # Written before it is good: after a crash between the two, `ensure_admin` moves it into place.
    write_private(_pending(file), f"{ADMIN}:{password.reveal()}")
    admins.put(ADMIN, password)
    _pending(file).replace(file)


def _pending(file: Path) -> Path:
    return file.with_name(file.name + ".pending")
