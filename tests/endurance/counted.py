"""The uses of keys as their clients counted them, and as the service tells of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from support.server import Client

from endurance.changes import KINDS
from endurance.history import Event, Signed, SignedByAll, Verified, by_credential
from endurance.keys import Place
from endurance.lives import Lives
from keysvc.v1 import rotation_pb2 as rpb


def used(history: Iterable[Event]) -> Counter[Place]:
    """By the place where a key was made: how often it verified, and how often it signed, alone or first."""
    events = list(history)
    lives = Lives(by_credential(events))
    keys = (lives.key(place) for event in events for place in _used_by(event))
    return Counter(key.place for key in keys if key)


def told(client: Client, history: Iterable[Event], merchants: list[str]) -> dict[Place, int]:
    """What GetRotation says of the keys that are live now, by the place where each was made."""
    lives = Lives(by_credential(history))
    totals = {}
    for merchant in merchants:
        for kind in KINDS.values():
            rotation = client.call("GetRotation", rpb.GetRotationRequest(name=merchant, kind=kind))
            for traffic in rotation.keys:
                key = lives.key((traffic.credential, traffic.version))
                assert key is not None, f"nobody was told of {traffic.credential}, version {traffic.version}"
                totals[key.place] = traffic.calls.total
    return totals


def _used_by(event: Event) -> Iterable[Place]:
    match event:
        case Verified() if event.answer.result == "VALID":
            return [(event.answer.credential, event.answer.version)]
        case Signed():
            return [event.signer]
        case SignedByAll():
            # Signing beside the first is for receivers that have not moved, and counts as no use.
            return event.signers[:1]
        case _:
            return []
