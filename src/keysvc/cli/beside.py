"""What commands that work beside the service share, on its token and database: whose those are, and a progress bar."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keysvc.cli import development
from keysvc.cli.settings import Settings, read_settings

Dev = Annotated[bool, typer.Option("--dev", help="Of `keysvc dev`: its token and database, under KEYSVC_HOME.")]


def settings_of(*, dev: bool) -> Settings:
    """Raises Misconfigured."""
    settings = read_settings()
    return development.found(settings) if dev else settings


def progress() -> Progress:
    """On stderr, and only where somebody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Left to itself it would send what stands on stdout to its own console.
    return Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
