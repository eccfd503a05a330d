"""What the token is asked of keysvc's own keys while they serve: finding them, moving what one wrapped, ending one.

`keysvc.hsm.provisioning` makes them. Operations as in `keysvc.hsm.operations`; the end of a key is the one that stays.
"""

from __future__ import annotations

import hmac as constant_time
from dataclasses import replace

import pkcs11
from pkcs11 import Session

from keysvc.hsm import attributes, keyring
from keysvc.hsm.connection import Connection
from keysvc.hsm.keys import NewKey, WrappedKey, handle_of
from keysvc.hsm.operations import try_out, wrap
from keysvc.model.hsm_keys import Purpose


def rewrap(connection: Connection, session: Session, key: WrappedKey) -> NewKey | None:
    """The same key under the newest wrapping key, without leaving the token; None where its generation lets none go.

    The old blob is about to be dropped, so what comes of the new one is compared first: raises PKCS11Error for another.
    """
    old = connection.wrapping_key(key.generation)
    if not old.movable:
        return None
    moved = old.unwrap(session, key.shape, key.material, attributes.IN_TRANSIT_UNSEEN, key.shape.capabilities)
    try:
        before = try_out(connection, session, key.shape, handle_of(moved))
        generation, material = wrap(connection, session, moved)
    finally:
        moved.destroy()
    again = connection.unwrap(replace(key, material=material, generation=generation))
    try:
        after = try_out(connection, session, key.shape, handle_of(again))
    finally:
        again.destroy()
    if not constant_time.compare_digest(before, after):
        raise pkcs11.DeviceError("a key that was wrapped again is another")
    return NewKey(material, generation)


def destroy_key(connection: Connection, _session: Session, purpose: Purpose, generation: int) -> None:
    """Destroys a key of the token's own, if it is there."""
    writing = connection.token.open(rw=True)
    try:
        for key in keyring.find(writing):
            if (key.purpose, key.generation) == (purpose, generation):
                key.object.destroy()
    finally:
        writing.close()


def find_keys(connection: Connection, session: Session) -> None:
    """Looks for the token's own keys anew. Raises Misconfigured."""
    connection.find_keys(session)
