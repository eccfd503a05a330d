"""The PKCS#11 module: loading it with locking on, finding the token, making one for development.

python-pkcs11 calls C_Initialize(NULL), which promises the module that one thread will call it; with
several threads the module may then crash or answer wrongly. `Module` initialises with
CKF_OS_LOCKING_OK instead (PKCS#11 2.40 section 5.4, C_Initialize) and refuses to go on without.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from pkcs11 import MultipleTokensReturned, NoSuchToken, PKCS11Error, Token, TokenFlag, _pkcs11

from keysvc.model.errors import Misconfigured

# Places in CK_FUNCTION_LIST (PKCS#11 2.40 section 3.6); only C_GetFunctionList need be exported by name.
_INITIALIZE = 0
_FINALIZE = 1
_INIT_TOKEN = 9
SIGN_INIT = 42
SIGN = 43
_FUNCTIONS = 68
_CKR_OK = 0x000
_CKR_CANT_LOCK = 0x00A
_CKF_OS_LOCKING_OK = 2
_LABEL_BYTES = 32


class _InitializeArgs(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS: no callbacks of ours, the module's own locks, nothing reserved."""

    _fields_ = [
        ("CreateMutex", ctypes.c_void_p),
        ("DestroyMutex", ctypes.c_void_p),
        ("LockMutex", ctypes.c_void_p),
        ("UnlockMutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("pReserved", ctypes.c_void_p),
    ]


class _FunctionList(ctypes.Structure):
    """CK_FUNCTION_LIST: a version, then the functions."""

    _fields_ = [("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * _FUNCTIONS)]


class Module(_pkcs11.lib):
    """A loaded and initialised module. One per process and path; threads may share it."""

    def __new__(cls, path: str) -> Module:
        if not Path(path).is_file():
            raise Misconfigured(f"No PKCS#11 module at {path}: set KEYSVC_PKCS11_MODULE to the vendor's library")
        try:
            return super().__new__(cls, path)  # type: ignore[call-arg]
        except PKCS11Error as error:
            raise Misconfigured(f"{path} is no PKCS#11 module that can be loaded: {error}") from None

    def initialize(self) -> None:
        """Called by the base class too. Raises Misconfigured where the module cannot lock."""
        arguments = _InitializeArgs(flags=_CKF_OS_LOCKING_OK)
        code = self._call(_INITIALIZE, ctypes.byref(arguments))
        if code == _CKR_CANT_LOCK:
            raise Misconfigured(
                f"{self.so} cannot lock for threads (CKR_CANT_LOCK), and keysvc calls it from several: use one that can"
            )
        if code != _CKR_OK:
            raise Misconfigured(f"{self.so} does not initialise: C_Initialize answered 0x{code:x}")

    def reset(self) -> None:
        """C_Finalize, then C_Initialize: every session and handle is gone. No other thread may be in the module."""
        self._call(_FINALIZE, None)
        self.initialize()

    def token(self, label: str) -> Token:
        """Finds the token by its label; slot numbers change. Raises Misconfigured, or PKCS11Error."""
        try:
            return self.get_token(token_label=label)
        except NoSuchToken:
            raise Misconfigured(f"No token labelled '{label}' in {self.so}: check KEYSVC_TOKEN_LABEL") from None
        except MultipleTokensReturned:
            raise Misconfigured(f"Several tokens are labelled '{label}' in {self.so}: give one its own label") from None

    def make_token(self, label: str, pin: str) -> None:
        """Initialises a free slot as a new token whose user and security officer share `pin`. Development only."""
        free = [s for s in self.get_slots() if not s.get_token().flags & TokenFlag.TOKEN_INITIALIZED]
        if not free:
            raise Misconfigured(f"{self.so} has no free slot for a new token")
        slot = free[0]
        raw_pin = pin.encode()
        code = self._call(
            _INIT_TOKEN,
            ctypes.c_ulong(slot.slot_id),
            raw_pin,
            ctypes.c_ulong(len(raw_pin)),
            label.encode().ljust(_LABEL_BYTES),
        )
        if code != _CKR_OK:
            raise Misconfigured(f"{self.so} makes no token: C_InitToken answered 0x{code:x}")
        session = self.token(label).open(rw=True, so_pin=pin)
        session.init_pin(pin)
        session.close()

    def function(self, place: int) -> int:
        """The address of a function of the module, by its place in CK_FUNCTION_LIST."""
        found = ctypes.POINTER(_FunctionList)()
        ctypes.CDLL(self.so).C_GetFunctionList(ctypes.byref(found))
        return int(found.contents.functions[place])

    def _call(self, place: int, *arguments: object) -> int:
        code: int = ctypes.CFUNCTYPE(ctypes.c_ulong)(self.function(place))(*arguments)
        return code
