"""The anchor's place in the token: a data object that only the holder of the PIN sees. What it says is not known here.

A data object's value stays as it was made (PKCS#11 2.40 section 4.5.1: C_SetAttributeValue does not take it). So a new
one is made first, and those that it is instead of are destroyed then: a crash leaves several, never none, and whoever
writes destroys only what it has read and outdone. Read-write sessions are opened for the write alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

import pkcs11
from pkcs11 import Attribute, ObjectClass, Session

from keysvc.hsm.connection import Connection
from keysvc.hsm.faults import Fault, classify
from keysvc.model.errors import HsmUnavailable

LABEL = "keysvc-anchor"
_PLACE: dict[Attribute, Any] = {
    Attribute.CLASS: ObjectClass.DATA,
    Attribute.TOKEN: True,
    Attribute.LABEL: LABEL,
}
_APPLICATION = "keysvc"
_LOOKS = 10
"""Each may find an object that another replica destroys before it is read."""
_TIMES_NOT_FOUND = 3
"""How often in a row nothing is found before that is believed: a search that began before another replica stored its
new object, and comes to the old one after that was destroyed, finds neither."""
_HAS_NO_DATA_OBJECTS = (pkcs11.AttributeValueInvalid, pkcs11.AttributeTypeInvalid)


class AnchorNotKept(HsmUnavailable):
    """The token does not store the data object. Other uses of the token are not touched by that."""


def values(_connection: Connection, session: Session) -> list[bytes]:
    """What stands in the token: one, but for moments; none where none was made, or the token has no data objects."""
    not_found = 0
    for _ in range(_LOOKS):
        try:
            found = [each[Attribute.VALUE] for each in _objects(session)]
        except pkcs11.ObjectHandleInvalid:
            continue
        except _HAS_NO_DATA_OBJECTS:
            return []
        not_found = 0 if found else not_found + 1
        if found or not_found == _TIMES_NOT_FOUND:
            return found
    raise HsmUnavailable("The token's anchor changes faster than it can be read: try again")


def put(connection: Connection, _session: Session, value: bytes, instead_of: Collection[bytes]) -> None:
    """Stores `value`, and then destroys those others. Raises AnchorNotKept."""
    try:
        session = connection.token.open(rw=True)
    except pkcs11.PKCS11Error as error:
        raise _told_apart(error) from None
    try:
        outdone = _those(session, instead_of)
        _store(session, value)
        for old in outdone:
            # Another replica may have done it. One that stays is destroyed by the next write.
            with contextlib.suppress(pkcs11.PKCS11Error):
                old.destroy()
    except pkcs11.PKCS11Error as error:
        raise _told_apart(error) from None
    finally:
        with contextlib.suppress(pkcs11.PKCS11Error):
            session.close()


def lacking(session: Session) -> str | None:
    """Why the token cannot keep an anchor; None where it can. Needs a read-write session, and leaves nothing behind."""
    try:
        _store(session, b"a trial", f"{LABEL}-trial").destroy()
    except pkcs11.PKCS11Error as error:
        if classify(error) is not Fault.UNKNOWN:
            raise
        return _reason(error)
    return None


def _objects(session: Session) -> list[pkcs11.Object]:
    return list(session.get_objects(_PLACE))


def _those(session: Session, wanted: Collection[bytes]) -> list[pkcs11.Object]:
    found = []
    for data in _objects(session):
        with contextlib.suppress(pkcs11.ObjectHandleInvalid):
            if data[Attribute.VALUE] in wanted:
                found.append(data)
    return found


def _store(session: Session, value: bytes, label: str = LABEL) -> pkcs11.Object:
    return session.create_object(
        {
            **_PLACE,
            Attribute.LABEL: label,
            Attribute.PRIVATE: True,
            Attribute.MODIFIABLE: False,
            Attribute.APPLICATION: _APPLICATION,
            Attribute.VALUE: value,
        }
    )


def _told_apart(error: pkcs11.PKCS11Error) -> Exception:
    """The sessions' own errors stay as they are: the token was reset, or is gone."""
    return AnchorNotKept(_reason(error)) if classify(error) is Fault.UNKNOWN else error


def _reason(error: pkcs11.PKCS11Error) -> str:
    return f"The token does not store the anchor, a private data object: {type(error).__name__}"
