"""`keysvc rotate`: walks an operator through a double run, and stops where it is not safe. Works over gRPC.

What is safe is the service's to say (GetRotation); all state is there, so a walk that was stopped goes on where it was.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from keysvc.cli import remote
from keysvc.cli.files import write_private
from keysvc.cli.remote import Stopped
from keysvc.cli.traffic import Screen, screen
from keysvc.client import CallFailed, Client, CreateOptions, Kind, Rotation, RotationStep, text_of
from keysvc.model.errors import Misconfigured

LOOK_SECONDS = 1.0
_FOREVER = float("inf")
_STILL_IN_USE = "STILL_IN_USE"


def rotate(
    merchant: Annotated[str, typer.Argument(help="The merchant's id.")],
    *,
    kind: Annotated[Kind, typer.Option(help="Which pair.")] = Kind.HMAC_KEY,
    unused_hours: Annotated[float, typer.Option(min=0, help="How long nobody may have used a key that ends.")] = 24,
    secret_file: Annotated[Path | None, typer.Option(help="Where to write the new secret, mode 0600.")] = None,
    receivers_ready: Annotated[
        bool,
        typer.Option("--receivers-ready", help="Swap though nobody has used the new key yet: receivers have it."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do what is safe without asking.")] = False,
    wait: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait for a step to become safe. For ever in a terminal.")
    ] = None,
) -> None:
    """Walk through a double run: create the secondary key, move the clients, swap, revoke the old key."""
    watched = remote.is_watched()
    plan = Plan(
        f"merchants/{merchant}",
        kind,
        timedelta(hours=unused_hours),
        secret_file,
        receivers_ready,
        wait if wait is not None else (_FOREVER if watched else 0.0),
        (lambda _question: True) if yes else typer.confirm,
    )
    if secret_file is None and not watched:
        raise Misconfigured("Nobody watches: say with --secret-file where the new secret is to be written")
    with remote.connected() as client:
        Walk(client, plan).go(watched=watched)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the operator asked for."""

    name: str
    kind: Kind
    unused_for: timedelta
    secret_file: Path | None
    receivers_ready: bool
    wait: float
    """Seconds for a step to become safe."""
    confirm: Callable[[str], bool]


class Walk:
    """One run of the command. Methods raise CallFailed or Stopped."""

    def __init__(self, client: Client, plan: Plan) -> None:
        self._client = client
        self._plan = plan

    def go(self, *, watched: bool) -> None:
        """From wherever the rotation stands to its end."""
        begun = False
        while True:
            rotation = self._look()
            if not rotation.steps:
                raise Stopped(f"{self._plan.name} is not ACTIVE: its keys cannot be rotated")
            if begun and text_of(rotation, "stage") == "SINGLE":
                typer.echo(f"done: {rotation.keys[0].credential} version {rotation.keys[0].version} is the only key")
                return
            step = self._until_safe(watched=watched)
            begun = self._do(step) or begun

    def _look(self) -> Rotation:
        return self._client.get_rotation(self._plan.name, self._plan.kind, unused_for=self._plan.unused_for)

    def _until_safe(self, *, watched: bool) -> RotationStep:
        """Shows the traffic until the next step is safe. Raises Stopped when that takes too long."""
        end = time.monotonic() + self._plan.wait
        with screen(watched=watched) as shown:
            while True:
                step, safe = self._next(shown)
                if safe:
                    return step
                if time.monotonic() >= end:
                    raise Stopped(
                        f"stopped: it is not safe yet to {_words(step)}. {step.reason}. Run this again to go on"
                    )
                time.sleep(LOOK_SECONDS)

    def _next(self, shown: Screen) -> tuple[RotationStep, bool]:
        rotation = self._look()
        if not rotation.steps:
            raise Stopped(f"{self._plan.name} is not ACTIVE any more: its keys cannot be rotated")
        step = next((one for one in rotation.steps if one.safe), rotation.steps[0])
        shown.show(rotation, f"{'next' if step.safe else 'waiting to'}: {_words(step)}. {step.reason}")
        return step, step.safe or (self._plan.receivers_ready and text_of(step, "action") != "REVOKE")

    def _do(self, step: RotationStep) -> bool:
        """Whether it was done. Raises Stopped where the operator says no."""
        if not self._plan.confirm(f"Now {_words(step)}?"):
            raise Stopped(f"stopped, as you said, before this was done: {_words(step)}. Run this again to go on")
        actions = {"CREATE": self._create, "SWAP": self._swap, "REVOKE": self._revoke}
        return actions[text_of(step, "action")](step)

    def _create(self, step: RotationStep) -> bool:
        """What is shown once must not be lost: there is a place for it before it is made."""
        if self._plan.secret_file is not None:
            _reserve(self._plan.secret_file)
        made = self._client.create_credential(
            step.slot_name, **_like_the_other(self._client, self._plan.name, step.slot_name)
        )
        typer.echo(f"created {step.slot_name} version {made.credential.version}")
        if self._plan.secret_file is None:
            typer.echo(f"its secret ({made.format}), shown this once: {made.value}")
        else:
            write_private(self._plan.secret_file, made.value)
            typer.echo(f"its secret ({made.format}) is in {self._plan.secret_file}")
        return True

    def _swap(self, _step: RotationStep) -> bool:
        etag = self._look().etag
        swapped = self._client.swap_credentials(self._plan.name, self._plan.kind, etag=etag, request_id=_request_id())
        typer.echo(f"swapped: {swapped.primary.name} is now version {swapped.primary.version}")
        return True

    def _revoke(self, step: RotationStep) -> bool:
        """The service looks again: somebody may have used it in this moment."""
        try:
            self._client.revoke_credential(
                step.slot_name, version=step.version, unused_for=self._plan.unused_for, request_id=_request_id()
            )
        except CallFailed as error:
            if error.reason != _STILL_IN_USE:
                raise
            typer.echo(error.message)
            return False
        typer.echo(f"revoked {_which(step)}")
        return True


def _reserve(path: Path) -> None:
    """Makes an empty private file. Raises Misconfigured where there is one, or none can be made."""
    if path.exists() and path.stat().st_size:
        raise Misconfigured(f"{path} is there already: move it away, or name another with --secret-file")
    write_private(path, "")


def _like_the_other(client: Client, merchant: str, slot_name: str) -> CreateOptions:
    """The format of the pair's other key: its clients take it."""
    prefix, _, slot = slot_name.rpartition("/")
    position, _, rest = slot.partition("-")
    other = f"{prefix}/{'primary' if position == 'secondary' else 'secondary'}-{rest}"
    found = next((one for one in client.list_credentials(merchant) if one.name == other), None)
    if found is None or text_of(found, "state") != "ACTIVE":
        return {}
    options: CreateOptions = {"secret_format": text_of(found, "secret_format")}
    algorithm = text_of(found, "hmac_algorithm")
    if algorithm not in ("HMAC_ALGORITHM_UNSPECIFIED", "HMAC_SHA1"):
        options["hmac_algorithm"] = algorithm
    return options


def _words(step: RotationStep) -> str:
    action = text_of(step, "action")
    return "swap the two keys" if action == "SWAP" else f"{action.lower()} {_which(step)}"


def _which(step: RotationStep) -> str:
    slot = step.slot_name.rpartition("/")[2]
    return f"version {step.version} of {slot}" if step.version else slot


def _request_id() -> str:
    return f"rotate-{uuid.uuid4().hex}"
