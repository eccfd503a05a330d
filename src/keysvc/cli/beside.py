"""What commands that work beside the service share, on its token and database: whose those are, the
database alone, patience, and a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from keysvc.cli import development, wiring
from keysvc.cli.settings import Settings, read_settings
from keysvc.model.audit import SignedHead
from keysvc.model.errors import HsmUnavailable, Misconfigured, Overloaded, StoreUnavailable
from keysvc.store import schema
from keysvc.store.engine import open_engine
from keysvc.store.store import Store

R = TypeVar("R")

PATIENCE_SECONDS = 60.0
"""For one step that is refused for now."""
Dev = Annotated[bool, typer.Option("--dev", help="Of `keysvc dev`: its token and database, under KEYSVC_HOME.")]


def settings_of(*, dev: bool) -> Settings:
    """Raises Misconfigured, also where `--dev` is likely what was forgotten."""
    settings = read_settings()
    if dev:
        return development.found(settings)
    if settings.database_url is None and (settings.home / "keysvc.db").exists():
        raise Misconfigured(f"Set KEYSVC_DATABASE_URL, or give --dev to use what `keysvc dev` keeps in {settings.home}")
    return settings


@contextmanager
def reading(settings: Settings) -> Iterator[Store]:
    """The database at the newest schema, without the token. Raises Misconfigured."""
    engine = open_engine(wiring.database_url(settings))
    schema.require_newest(engine)
    store = Store(engine, _never_signs)
    try:
        yield store
    finally:
        store.close()


def _never_signs(_sequence: int, _digest: str, _last: SignedHead | None) -> NoReturn:
    raise HsmUnavailable("There is no token at hand")


def patiently(heal: Callable[[], object], step: Callable[[], R]) -> R:
    """What the step returns. Refused for now, beside a service under load or while the database or the token is away,
    it is tried again after `heal` has looked for the token; raises what it was refused with last."""

    def look(_state: RetryCallState) -> None:
        heal()

    again = retry_if_exception_type((StoreUnavailable, HsmUnavailable, Overloaded))
    pause, patience = wait_random_exponential(0.2, 5.0), stop_after_delay(PATIENCE_SECONDS)
    return Retrying(retry=again, wait=pause, stop=patience, before_sleep=look, reraise=True)(step)


def progress() -> Progress:
    """On stderr, and only where somebody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Left to itself it would send what stands on stdout to its own console.
    return Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
