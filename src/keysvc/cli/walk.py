"""One walk through a double run: looks where it stands, waits until the next step is safe, asks, and does it.

What is safe is the service's to say (GetRotation); all state is there, so a walk that was stopped goes on where it was.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import typer

from keysvc.cli.files import write_private
from keysvc.cli.remote import Stopped
from keysvc.cli.traffic import Screen, screen
from keysvc.client import (
    CallFailed,
    Client,
    CreateOptions,
    Credential,
    Kind,
    NewSecret,
    Rotation,
    RotationStep,
    text_of,
)
from keysvc.model.errors import Misconfigured

LOOK_SECONDS = 1.0
_AGAIN = "Run this again to go on"
_CHANGED = frozenset({"STILL_IN_USE", "ETAG_MISMATCH", "SLOT_EMPTY"})
"""Refusals of what was safe when it was asked for: it is looked at anew."""
_UNANSWERED = frozenset({"DEADLINE_EXCEEDED", "UNAVAILABLE"})
"""Codes that do not say whether the call was carried out."""


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
    watched: bool
    """Whether a person reads what is printed: a secret is shown to nobody else."""
    confirm: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A step, and the state of the keys for which it was chosen."""

    step: RotationStep
    etag: str


class Walk:
    """One run of the command. Methods raise CallFailed, Stopped, or Misconfigured."""

    def __init__(self, client: Client, plan: Plan) -> None:
        self._client = client
        self._plan = plan
        self._made = ""
        """The credential that this run made: nobody can have its secret yet."""
        self._newest = 0
        """When the newest key was made that this run saw, in nanoseconds since 1970."""

    def go(self) -> None:
        """From wherever the rotation stands to its end."""
        under_way = text_of(self._look(), "stage") in ("MOVING", "RETIRING")
        while chosen := self._until_safe(under_way=under_way):
            under_way = self._do(chosen) or under_way

    def _look(self) -> Rotation:
        rotation = self._client.get_rotation(self._plan.name, self._plan.kind, unused_for=self._plan.unused_for)
        if not rotation.steps:
            raise Stopped(f"{self._plan.name} is not ACTIVE: its keys cannot be rotated")
        return rotation

    def _until_safe(self, *, under_way: bool) -> _Chosen | None:
        """Shows the traffic until the next step is safe; None at the end. Raises Stopped when that takes too long."""
        end = time.monotonic() + self._plan.wait
        with screen(watched=self._plan.watched) as shown:
            while True:
                rotation = self._look()
                if under_way and text_of(rotation, "stage") == "SINGLE":
                    self._tell_end(rotation)
                    return None
                self._newest = max(self._newest, *(key.create_time.ToNanoseconds() for key in rotation.keys), 0)
                step = _next(rotation)
                if self._may(step, rotation, shown):
                    return _Chosen(step, rotation.etag)
                if time.monotonic() >= end:
                    raise Stopped(f"stopped: it is not safe yet to {_words(step)}. {step.reason}. {_AGAIN}")
                time.sleep(LOOK_SECONDS)

    def _may(self, step: RotationStep, rotation: Rotation, shown: Screen) -> bool:
        may = step.safe or (self._plan.receivers_ready and not self._made and text_of(step, "action") != "REVOKE")
        shown.show(rotation, f"{'next' if may else 'waiting to'}: {_words(step)}. {step.reason}")
        return may

    def _do(self, chosen: _Chosen) -> bool:
        """Whether it was done. Raises Stopped where the operator says no."""
        words = _words(chosen.step)
        try:
            agreed = self._plan.confirm(f"Now {words}?")
        except typer.Abort:  # nobody is there to answer
            raise Stopped(f"stopped, without an answer, before this: {words}. With --yes nothing is asked") from None
        if not agreed:
            raise Stopped(f"stopped, as you said, before this: {words}. {_AGAIN}")
        actions = {"CREATE": self._create, "SWAP": self._swap, "REVOKE": self._revoke}
        try:
            return actions[text_of(chosen.step, "action")](chosen)
        except CallFailed as error:
            if error.reason not in _CHANGED:
                raise
            typer.echo(error.message)
            time.sleep(LOOK_SECONDS)
            return False

    def _create(self, chosen: _Chosen) -> bool:
        """What is shown once must not be lost: there is a place for it before it is made."""
        slot_name, file = chosen.step.slot_name, self._plan.secret_file
        if file is not None:
            _reserve(file)
        elif not self._plan.watched:
            raise Misconfigured("Nobody watches: say with --secret-file where the new secret is to be written")
        other = next((one for one in self._slots() if one.name == _other(slot_name)), None)
        made = self._created(slot_name, _like(other))
        self._made = slot_name
        typer.echo(f"created {slot_name} version {made.credential.version}")
        if file is None:
            typer.echo(f"its secret ({made.format}), shown this once: {made.value}")
        else:
            _write(file, made.value, slot_name)
            typer.echo(f"its secret ({made.format}) is in {file}")
        return True

    def _created(self, slot_name: str, options: CreateOptions) -> NewSecret:
        try:
            return self._client.create_credential(slot_name, **options)
        except CallFailed as error:
            if error.code not in _UNANSWERED:
                raise
            raise Misconfigured(
                f"{error.message}. {slot_name} may have been made all the same, and its secret is then lost:"
                " look with GetRotation, revoke it if it is there, and run this again"
            ) from None

    def _tell_end(self, rotation: Rotation) -> None:
        [key] = rotation.keys
        if key.create_time.ToNanoseconds() < self._newest:
            raise Stopped(f"stopped: the new key was revoked meanwhile, and the old one goes on. {_AGAIN}")
        typer.echo(f"done: {key.credential} version {key.version} is the only key")

    def _swap(self, chosen: _Chosen) -> bool:
        """Of the keys that were looked at: a swap that somebody else did meanwhile is not undone."""
        swapped = self._client.swap_credentials(
            self._plan.name, self._plan.kind, etag=chosen.etag, request_id=_request_id()
        )
        typer.echo(f"swapped: {swapped.primary.name} is now version {swapped.primary.version}")
        return True

    def _revoke(self, chosen: _Chosen) -> bool:
        """The service looks again: somebody may have used it in this moment, or moved another key to its slot."""
        step = chosen.step
        etag = next(one.etag for one in self._slots() if one.name == step.slot_name)
        if self._look().etag != chosen.etag:
            typer.echo("the keys have changed since: looking again")
            return False
        self._client.revoke_credential(
            step.slot_name,
            etag=etag,
            version=step.version,
            unused_for=self._plan.unused_for,
            request_id=_request_id(),
        )
        typer.echo(f"revoked {_which(step)}")
        return True

    def _slots(self) -> list[Credential]:
        return list(self._client.list_credentials(self._plan.name))


def _next(rotation: Rotation) -> RotationStep:
    """The first that is safe, or else the first. Where old keys are left, they end before another double run begins."""
    steps = [one for one in rotation.steps if text_of(one, "action") == "REVOKE"]
    if text_of(rotation, "stage") != "RETIRING":
        steps = list(rotation.steps)
    return next((one for one in steps if one.safe), steps[0])


def _reserve(path: Path) -> None:
    """Makes an empty private file. Raises Misconfigured where there is one, or none can be made."""
    if path.exists() and (not path.is_file() or path.stat().st_size):
        raise Misconfigured(f"{path} is there already: move it away, or name another with --secret-file")
    write_private(path, "")


def _write(path: Path, secret: str, slot_name: str) -> None:
    try:
        write_private(path, secret)
    except Misconfigured as error:
        raise Misconfigured(
            f"{error.message}. The secret of {slot_name} is lost: revoke that key, and run this again"
        ) from None


def _other(slot_name: str) -> str:
    prefix, _, slot = slot_name.rpartition("/")
    position, _, rest = slot.partition("-")
    return f"{prefix}/{'primary' if position == 'secondary' else 'secondary'}-{rest}"


def _like(other: Credential | None) -> CreateOptions:
    """The format of the pair's other key: its clients take it."""
    if other is None or text_of(other, "state") != "ACTIVE":
        return {}
    options: CreateOptions = {"secret_format": text_of(other, "secret_format")}
    algorithm = text_of(other, "hmac_algorithm")
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
