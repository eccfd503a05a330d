"""A program: adds principals to the database of a `keysvc dev`, sealed by its token. Issue 2/5's service will.

Called as `add_principal.py HOME ID:KIND:PASSWORD …`. A process of its own, because a module is
initialised with one configuration per process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from keysvc.cli import wiring
from keysvc.cli.settings import Settings
from keysvc.hsm.module import Module
from keysvc.model.principals import PrincipalKind, PrincipalRecord, PrincipalState
from keysvc.service.access import PASSWORD_USE

_MODULE_PATH = Path("/usr/lib/softhsm/libsofthsm2.so")


def add_principals(home: Path, *principals: str) -> None:
    """Runs this program; each principal is `ID:KIND:PASSWORD`."""
    subprocess.run([sys.executable, __file__, str(home), *principals], check=True)


def main(home: Path, principals: list[str]) -> None:
    os.environ["SOFTHSM2_CONF"] = str(home / "softhsm2.conf")
    settings = Settings(
        pkcs11_module=_MODULE_PATH, pin_file=home / "pin", database_url=f"sqlite:///{home / 'keysvc.db'}", threads=1
    )
    config = wiring.token_config(settings)
    with wiring.opened(settings, Module(config.module_path), config) as core:
        for principal in principals:
            _add(core, *principal.split(":"))


def _add(core: wiring.Core, principal_id: str, kind: str, password: str) -> None:
    digest, generation = core.digester.make(PASSWORD_USE, principal_id, password)
    record = PrincipalRecord(
        principal_id=principal_id,
        kind=PrincipalKind(kind),
        state=PrincipalState.ACTIVE,
        password_digest=digest,
        digest_generation=generation,
        create_time=wiring.now(),
        revision=1,
    )
    with core.store.change() as change:
        change.add_principal(core.sealer.seal(record))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
