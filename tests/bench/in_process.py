"""What a create is made of, timed without gRPC: `python -m bench.in_process HOME`, a program of its own.

Each line of its input, `JOB COUNT`, is answered by a line with the seconds of each go, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event

from bench.questions import read_merchants
from keysvc.cli import development, wiring
from keysvc.cli.assembly import Core
from keysvc.cli.settings import Settings, read_settings
from keysvc.cli.wiring import now
from keysvc.hsm.keys import KeyShape
from keysvc.model.hsm_keys import Purpose
from keysvc.model.names import CredentialName
from keysvc.model.slots import HmacAlgorithm, Slot
from keysvc.service.audit import AuditSigner
from keysvc.service.calls import Caller, Request, record
from keysvc.service.lifecycle import Lifecycle
from keysvc.service.material import Maker
from keysvc.service.usage import Usage
from keysvc.store.engine import open_engine
from keysvc.store.store import Store

_CALLER = Caller("admin", "bench", lambda: "")
_MACS_OF_A_CREATE = 4
"""Of the merchant's row, checked; of the slot's and the key's, made; and the fingerprint."""
_ROW_BYTES = 300

Job = Callable[[], object]


def _jobs(core: Core, unsynced: Store, merchants: Iterator[str]) -> dict[str, Job]:
    known = next(merchants)

    def macs() -> None:
        for _ in range(_MACS_OF_A_CREATE):
            core.token.keyed_digest(Purpose.ROW, core.token.newest(Purpose.ROW), bytes(_ROW_BYTES))

    def commit(store: Store) -> Job:
        def audit() -> None:
            with store.change() as change:
                record(change, _CALLER, "merchants/-", time=now())

        return audit

    def create(store: Store) -> Job:
        maker = Maker(core.token, core.digester)
        lifecycle = Lifecycle(store, maker, core.sealer, Usage(store), now)

        def create_one() -> None:
            name = CredentialName(next(merchants), Slot.SECONDARY_HMAC_KEY)
            lifecycle.create(Request(_CALLER, name), None, None, None)

        return create_one

    return {
        "generate": lambda: core.token.generate(KeyShape(HmacAlgorithm.HMAC_SHA256), None),
        "macs": macs,
        "read": lambda: core.store.holdings(known),
        "commit": commit(core.store),
        "commit-unsynced": commit(unsynced),
        "create": create(core.store),
        "create-unsynced": create(unsynced),
    }


@contextmanager
def _unsynced(settings: Settings, core: Core) -> Iterator[Store]:
    """The same database, without an fsync at each commit: not what keysvc does, but what the fsync costs."""
    engine = open_engine(wiring.database_url(settings))

    def no_sync(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(engine, "connect", no_sync)
    store = Store(engine, AuditSigner(core.token))
    try:
        yield store
    finally:
        store.close()


def _timed(job: Job, times: int) -> list[float]:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        job()
        taken.append(time.perf_counter() - begin)
    return taken


def main(home: Path) -> None:
    os.environ["KEYSVC_HOME"] = str(home)
    settings, module = development.provision(read_settings())
    with ExitStack() as stack:
        core = stack.enter_context(wiring.opened(settings, module, wiring.token_config(settings)))
        jobs = _jobs(core, stack.enter_context(_unsynced(settings, core)), iter(read_merchants(home)))
        for line in sys.stdin:
            name, times = line.split()
            print(json.dumps(_timed(jobs[name], int(times))), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
