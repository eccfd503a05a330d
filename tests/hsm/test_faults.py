"""What each error of a token means, as the table of causes and actions has it."""

from __future__ import annotations

import pkcs11
import pytest

from keysvc.hsm.faults import Fault, classify, from_code

# CKR_ values of PKCS#11 2.40, the errors that they are, and what is to be done about them.
CODES: dict[int, tuple[type[pkcs11.PKCS11Error], Fault]] = {
    0x005: (pkcs11.GeneralError, Fault.UNKNOWN),
    0x006: (pkcs11.FunctionFailed, Fault.UNKNOWN),
    0x030: (pkcs11.DeviceError, Fault.GONE),
    0x031: (pkcs11.DeviceMemory, Fault.UNKNOWN),
    0x032: (pkcs11.DeviceRemoved, Fault.GONE),
    0x060: (pkcs11.KeyHandleInvalid, Fault.RESET),
    0x082: (pkcs11.ObjectHandleInvalid, Fault.RESET),
    0x090: (pkcs11.OperationActive, Fault.UNKNOWN),
    0x0B0: (pkcs11.SessionClosed, Fault.RESET),
    0x0B3: (pkcs11.SessionHandleInvalid, Fault.RESET),
    0x0E0: (pkcs11.TokenNotPresent, Fault.GONE),
    0x0E1: (pkcs11.TokenNotRecognised, Fault.GONE),
    0x101: (pkcs11.UserNotLoggedIn, Fault.RESET),
}
OTHERS: dict[type[pkcs11.PKCS11Error], Fault] = {
    pkcs11.NoSuchToken: Fault.GONE,
    pkcs11.SlotIDInvalid: Fault.GONE,
    pkcs11.WrappingKeyHandleInvalid: Fault.RESET,
    pkcs11.UnwrappingKeyHandleInvalid: Fault.RESET,
    pkcs11.PinIncorrect: Fault.PIN,
    pkcs11.PinLocked: Fault.PIN,
    pkcs11.PinExpired: Fault.PIN,
    pkcs11.GeneralError: Fault.UNKNOWN,
    pkcs11.FunctionFailed: Fault.UNKNOWN,
    pkcs11.SignatureInvalid: Fault.UNKNOWN,
    pkcs11.PKCS11Error: Fault.UNKNOWN,
}


@pytest.mark.parametrize("code", CODES, ids=hex)
def test_a_code_of_a_direct_call_is_the_librarys_error(code: int) -> None:
    expected, fault = CODES[code]
    assert expected is type(from_code(code))
    assert fault is classify(from_code(code))


@pytest.mark.parametrize("error", OTHERS)
def test_an_error_of_the_library_is_told_apart(error: type[pkcs11.PKCS11Error]) -> None:
    assert OTHERS[error] is classify(error())


def test_an_unknown_code_is_kept_for_the_log() -> None:
    assert "0x80000001" in str(from_code(0x80000001))
    assert Fault.UNKNOWN is classify(from_code(0x80000001))
