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


_BY_CODE: dict[int, type[pkcs11.PKCS11Error]] = {
    0x005: pkcs11.GeneralError,
    0x006: pkcs11.FunctionFailed,
    0x030: pkcs11.DeviceError,
    0x031: pkcs11.DeviceMemory,
    0x032: pkcs11.DeviceRemoved,
    0x060: pkcs11.KeyHandleInvalid,
    0x062: pkcs11.KeySizeRange,
    0x082: pkcs11.ObjectHandleInvalid,
    0x090: pkcs11.OperationActive,
    0x0B0: pkcs11.SessionClosed,
    0x0B3: pkcs11.SessionHandleInvalid,
    0x0E0: pkcs11.TokenNotPresent,
    0x0E1: pkcs11.TokenNotRecognised,
    0x101: pkcs11.UserNotLoggedIn,
}


def from_code(code: int) -> pkcs11.PKCS11Error:
    """The library's exception for a CKR_ value that a direct call returned."""
    known = _BY_CODE.get(code)
    return known() if known else pkcs11.PKCS11Error(f"CKR 0x{code:x}")


def classify(error: pkcs11.PKCS11Error) -> Fault:
    return _CLASSES.get(type(error), Fault.UNKNOWN)


def code_of(error: pkcs11.PKCS11Error) -> str:
    """For the log: the library's name of it, with what it says of itself, if anything."""
    return ": ".join(filter(None, (type(error).__name__, str(error))))
