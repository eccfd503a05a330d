"""What `keysvc serve` is pointed at: a SoftHSM token made with its own tool, a PIN file, and a SQLite database."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support.kept import kept_directory
from support.program import MODULE_PATH, environment_of, run

PIN = "production-pin-1234"
LABEL = "payments"


@dataclass(frozen=True)
class Production:
    """Everything stands under one directory."""

    directory: Path

    @property
    def settings(self) -> dict[str, str]:
        return {
            "SOFTHSM2_CONF": str(self.directory / "softhsm2.conf"),
            "KEYSVC_PKCS11_MODULE": str(MODULE_PATH),
            "KEYSVC_TOKEN_LABEL": LABEL,
            "KEYSVC_PIN_FILE": str(self.directory / "pin"),
            "KEYSVC_DATABASE_URL": f"sqlite:///{self.directory / 'keysvc.db'}",
            "KEYSVC_LISTEN": "127.0.0.1:0",
        }

    @property
    def admin_credentials(self) -> Path:
        return self.directory / "admin-credentials"

    def make_token(self) -> None:
        """An initialised token without keys, and its PIN file."""
        (self.directory / "tokens").mkdir(parents=True)
        self._configure()
        pin = self.directory / "pin"
        pin.touch(mode=0o600)
        pin.write_text(f"{PIN}\n")
        command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", PIN]
        subprocess.run(command, env=environment_of(self.settings), check=True, capture_output=True)

    def upgrade(self) -> subprocess.CompletedProcess[str]:
        return run("db", "upgrade", settings=self.settings)

    def initialise(self) -> subprocess.CompletedProcess[str]:
        return run("init", "--admin-credentials", str(self.admin_credentials), settings=self.settings)

    def make_all(self) -> None:
        """All that `serve` needs, a copy: making five keys takes longest."""
        shutil.copytree(_made_once().directory, self.directory, dirs_exist_ok=True)
        self._configure()

    def make_anew(self) -> None:
        """The same, with a token and a database that are no other's."""
        self.make_token()
        for done in (self.upgrade(), self.initialise()):
            assert 0 == done.returncode, done.stderr

    def _configure(self) -> None:
        lines = (f"directories.tokendir = {self.directory / 'tokens'}", "objectstore.backend = file", "")
        (self.directory / "softhsm2.conf").write_text("\n".join(lines))


@cache
def _made_once() -> Production:
    """To be copied; one in each process of tests."""
    made = Production(kept_directory() / "all")
    made.make_anew()
    return made
