"""Makes a home with active merchants that each have a key: `python -m bench.populate HOME START STOP STEP`.

With keysvc's own code, a thousand merchants to a transaction, while no server runs. Merchants that are
there are left alone.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert

from bench.cores import Cores
from bench.questions import macs_file, merchant_id, message_for, read_merchants
from bench.servers import THIS_TREE, Source, program
from keysvc.cli import development, wiring
from keysvc.cli.assembly import Core
from keysvc.cli.first_admin import ensure_admin
from keysvc.cli.settings import read_settings
from keysvc.cli.wiring import now
from keysvc.model.names import CredentialName
from keysvc.model.records import KeyRecord, MerchantRecord, MerchantState, SlotRecord
from keysvc.model.slots import Slot
from keysvc.service.audit import AuditSigner
from keysvc.service.maintenance import CHANGES_KEPT, REQUESTS_KEPT
from keysvc.service.material import Fresh, Maker, recipe
from keysvc.service.slot_edit import SlotEdit
from keysvc.store import schema
from keysvc.store.changes import Change
from keysvc.store.engine import open_engine
from keysvc.store.queries import KEY, MERCHANT, SLOT
from keysvc.store.rows import to_row

_AT_ONCE = 1000


def copied(home: Path, to: Path) -> Path:
    """The same token and the same keys once more."""
    shutil.copytree(home, to)
    shutil.copyfile(macs_file(home), macs_file(to))
    return to


def populate(home: Path, numbers: range, cores: Cores, done: Callable[[int], None], source: Source = THIS_TREE) -> None:
    """Blocks until the merchants are there, made by the code of `source`. `done` is told how many more are."""
    asked = [str(home), *map(str, (numbers.start, numbers.stop, numbers.step))]
    with program(cores, "bench.populate", *asked, source=source) as process:
        assert process.stdout is not None
        for line in process.stdout:
            done(int(line))
        if process.wait() != 0:
            raise RuntimeError("the merchants could not be made: see above")


class Bulk(Change):
    """A change that writes what is added at its end, many rows at once."""

    def __init__(self, connection: Connection, sign: AuditSigner) -> None:
        super().__init__(connection, sign)
        self._rows: dict[Table, list[dict[str, Any]]] = {MERCHANT: [], SLOT: [], KEY: []}

    def add_merchant(self, record: MerchantRecord) -> None:
        self._rows[MERCHANT].append(to_row(record))

    def add_slot(self, record: SlotRecord) -> None:
        self._rows[SLOT].append(to_row(record))

    def add_key(self, record: KeyRecord) -> None:
        self._rows[KEY].append(to_row(record))

    def write(self) -> None:
        for table, rows in self._rows.items():
            self._connection.execute(insert(table), rows)


def _fill(core: Core, url: str, home: Path, numbers: range) -> None:
    maker = Maker(core.token, core.digester)
    known = read_merchants(home)
    wanted = iter([merchant for merchant in map(merchant_id, numbers) if merchant not in known])
    engine = open_engine(url)
    with macs_file(home).open("a") as macs:
        while batch := list(islice(wanted, _AT_ONCE)):
            with engine.begin() as connection:
                bulk = Bulk(connection, AuditSigner(core.token))
                macs.writelines([_add(core, maker, bulk, merchant) for merchant in batch])
                bulk.write()
            print(len(batch), flush=True)
    engine.dispose()
    # So that the server does not do it while it is measured.
    core.store.forget_before(now(), now() - REQUESTS_KEPT, CHANGES_KEPT)


def _add(core: Core, maker: Maker, change: Change, merchant: str) -> str:
    record = core.sealer.seal(_active(merchant))
    change.add_merchant(record)
    name = CredentialName(merchant, Slot.PRIMARY_HMAC_KEY)
    fresh = maker.make(name, recipe(name, None, None), None)
    SlotEdit(change, core.sealer, name, record, None, []).fill(fresh, now(), None)
    return f"{merchant} {_mac(fresh, message_for(merchant))}\n"


def _active(merchant: str) -> MerchantRecord:
    time = now()
    return MerchantRecord(
        merchant_id=merchant, display_name=f"Merchant {merchant}", psp=None, acquirer=None,
        state=MerchantState.ACTIVE, create_time=time, update_time=time, revision=1,
    )  # fmt: skip


def _mac(fresh: Fresh, message: bytes) -> str:
    """Computed without the token, so that a VALID answer later says something."""
    assert fresh.text is not None
    return hmac.new(bytes.fromhex(fresh.text.reveal()), message, hashlib.sha256).hexdigest()


def main(home: Path, numbers: range) -> None:
    os.environ["KEYSVC_HOME"] = str(home)
    settings, module = development.provision(read_settings())
    config, url = wiring.token_config(settings), wiring.database_url(settings)
    schema.upgrade(open_engine(url))
    wiring.make_token_keys(module, config, config.pin)
    with wiring.opened(settings, module, config) as core:
        ensure_admin(wiring.initialised(core), home / "admin-credentials")
        _fill(core, url, home, numbers)


if __name__ == "__main__":
    main(Path(sys.argv[1]), range(*map(int, sys.argv[2:5])))
