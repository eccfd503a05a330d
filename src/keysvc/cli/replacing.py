"""Carrying out the replacement of a token key on the token and the database, each step with a login of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import typer

from keysvc.cli import wiring
from keysvc.cli.beside import patiently, progress
from keysvc.cli.remote import Stopped
from keysvc.cli.settings import Settings
from keysvc.hsm import provisioning
from keysvc.hsm.module import Module
from keysvc.model.hsm_keys import Purpose
from keysvc.service.rekeying import Rekeying

SETTLE_SECONDS = 3.0
"""Between the last row's move and the end of its old key: calls that read the row before it moved are answered."""
_WORK = "keysvc hsm"
_NAMED = 20
"""Rows that could not be moved which are named."""
_HOW = {
    Purpose.WRAPPING: "renew or revoke those credentials",
    Purpose.ROW: "find out who altered those rows, and restore them",
    Purpose.DIGEST: "renew the REST API keys, API passwords, Lib Lite tokens and principals' passwords made before it",
}
"""What frees a generation of what does not move by itself."""


class Replacement:
    """Of one purpose's key. May be stopped at any time: all state is in the database."""

    def __init__(self, settings: Settings, purpose: Purpose, so_pin: str | None) -> None:
        self._settings = settings
        self._purpose = purpose
        self._so_pin = so_pin
        # One call at a time is made of the token.
        self._config = replace(wiring.token_config(settings), workers=1)
        self._module = Module(self._config.module_path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While no other run of these commands is at work on the database. Raises Stopped."""
        with wiring.alone(self._settings, _WORK) as alone:
            if not alone:
                raise Stopped("Another run is at work on the token's keys: let it end")
            yield

    def stand(self) -> tuple[int | None, list[int]]:
        """The generation that two administrators agreed to, if any, and those that are to go."""
        with self._rekeying() as rekeying:
            return patiently(rekeying.heal, rekeying.approved), patiently(rekeying.heal, rekeying.retiring)

    def put_into_use(self, generation: int) -> None:
        """Makes the key, unless a run before did, and has it make all that is new."""
        label = provisioning.ensure(self._module, self._config, self._so_pin, self._purpose, generation)
        with self._rekeying() as rekeying:
            patiently(rekeying.heal, rekeying.put_into_use)
        typer.echo(f"{label} makes all that is new from now on")

    def empty(self, generation: int) -> None:
        """Moves what hangs on the generation, and destroys it. Raises Stopped where something does not move."""
        old = f"{self._purpose}-{generation}"
        with self._rekeying() as rekeying:
            moved, stuck = _moved(rekeying, generation, old)
            if moved:
                typer.echo(f"moved {moved} rows off keysvc-{old}")
            time.sleep(SETTLE_SECONDS)  # also where another run moved them
            if patiently(rekeying.heal, partial(rekeying.finish, generation)):
                typer.echo(f"destroyed keysvc-{old}")
                return
            left = rekeying.hanging(generation)
        for line in stuck[:_NAMED]:
            typer.echo(f"  {line}")
        raise Stopped(f"{left} rows hang on keysvc-{old}, which stays until they are gone: {_HOW[self._purpose]}")

    @contextmanager
    def _rekeying(self) -> Iterator[Rekeying]:
        with wiring.in_use(self._settings, self._module, self._config) as core:
            yield Rekeying(core.store, core.token, core.sealer, self._purpose, core.now)


def _moved(rekeying: Rekeying, generation: int, old: str) -> tuple[int, list[str]]:
    """How many rows moved, and what is wrong with the others."""
    rows, stuck = 0, list[str]()
    with progress() as bar:
        task = bar.add_task(f"rows of {old}", total=rekeying.hanging(generation))
        before = -1
        while before < rows:  # a swap may have carried a row to where the last pass had been
            before, stuck = rows, []
            for batch in rekeying.move(generation, partial(patiently, rekeying.heal)):
                rows += batch.rows
                stuck += batch.stuck
                bar.update(task, completed=rows)
    return rows, stuck
