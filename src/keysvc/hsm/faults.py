"""What a PKCS#11 error means for us, and what to do about it."""

from __future__ import annotations

from enum import Enum, auto

import pkcs11


class Fault(Enum):
    """The classes of error that are worth telling apart."""

    RESET = auto()
    """The token was reset under us: drop all handles, log in once, try once more."""
    GONE = auto()
    """The token is out of reach: answer so, and look for it in the background."""
    PIN = auto()
    """The PIN is wrong: configuration. Never tried again, since a token locks after a few."""
    UNKNOWN = auto()
    """Anything else: the session is thrown away and the call fails."""


_CLASSES: dict[type[pkcs11.PKCS11Error], Fault] = {
    pkcs11.SessionHandleInvalid: Fault.RESET,
    pkcs11.SessionClosed: Fault.RESET,
    pkcs11.ObjectHandleInvalid: Fault.RESET,
    pkcs11.KeyHandleInvalid: Fault.RESET,
    pkcs11.WrappingKeyHandleInvalid: Fault.RESET,
    pkcs11.UnwrappingKeyHandleInvalid: Fault.RESET,
    pkcs11.UserNotLoggedIn: Fault.RESET,
    pkcs11.DeviceError: Fault.GONE,
    pkcs11.DeviceRemoved: Fault.GONE,
    pkcs11.TokenNotPresent: Fault.GONE,
    pkcs11.TokenNotRecognised: Fault.GONE,
    pkcs11.NoSuchToken: Fault.GONE,
    pkcs11.SlotIDInvalid: Fault.GONE,
    pkcs11.PinIncorrect: Fault.PIN,
    pkcs11.PinInvalid: Fault.PIN,
    pkcs11.PinLenRange: Fault.PIN,
    pkcs11.PinExpired: Fault.PIN,
    pkcs11.PinLocked: Fault.PIN,
}


def classify(error: pkcs11.PKCS11Error) -> Fault:
    return _CLASSES.get(type(error), Fault.UNKNOWN)
