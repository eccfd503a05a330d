"""C_SignInit and C_Sign, called straight: the hot path (PKCS#11 2.40 sections 5.11 and 5.12).

python-pkcs11 lets go of the GIL three times for one MAC. A software token answers in a few
microseconds, less than it takes to get the GIL back from the other threads: under load those waits
cost several times the MAC itself. So the signer measures the token when it connects, and keeps the
GIL for one that answers faster than `HOLD_BELOW_SECONDS`; for a network HSM, which takes a
millisecond, it lets go, and other threads work meanwhile. See docs/decisions/0003.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

from pkcs11 import Session

from keysvc.hsm.attributes import HMAC_MECHANISMS
from keysvc.hsm.faults import from_code
from keysvc.hsm.module import SIGN, SIGN_INIT, Module
from keysvc.model.slots import HmacAlgorithm

HOLD_BELOW_SECONDS = 100e-6
LET_GO_ABOVE_SECONDS = 1e-3
_TRIALS = 11
_CKR_OK = 0
_ULONG = ctypes.c_ulong
_INT = 2**31
"""What a C function without declared types takes as it is, below this (its registers are 64 bits wide)."""

_Function = Callable[..., int]
_Form = tuple[Any, Any, Any, Any, Any]
"""Of a session and an algorithm: the session, the mechanism, where the MAC comes to, where that and its size are."""


class _Mechanism(ctypes.Structure):
    """CK_MECHANISM without a parameter."""

    _fields_ = [("mechanism", _ULONG), ("pParameter", ctypes.c_void_p), ("ulParameterLen", _ULONG)]


class Signer:
    """Signs in any session of the process, one call at a time in each. Thread-safe."""

    def __init__(self, module: Module) -> None:
        """Lets go of the GIL until `measure` finds that it need not."""
        self._module = module
        self._forms: dict[HmacAlgorithm, dict[int, _Form]] = {algorithm: {} for algorithm in HMAC_MECHANISMS}
        self._use(holding=False)

    def measure(self, session: Session, key: int, algorithm: HmacAlgorithm) -> None:
        """Times a few MACs, and decides whether to keep the GIL. Raises PKCS11Error."""
        self._use(holding=self._seconds(session, key, algorithm) < HOLD_BELOW_SECONDS)

    def watch(self, session: Session, key: int, algorithm: HmacAlgorithm) -> None:
        """Times a token that was fast once more, and lets go of the GIL for good where it has become slow.

        One that was slow is not timed: what it takes to get the GIL back is no time of the token's.
        """
        if self.holding and self._seconds(session, key, algorithm) > LET_GO_ABOVE_SECONDS:
            self._use(holding=False)

    def _seconds(self, session: Session, key: int, algorithm: HmacAlgorithm) -> float:
        """The median time of a MAC."""
        times = []
        for _ in range(_TRIALS):
            begin = time.perf_counter()
            self.sign(session, key, algorithm, b"")
            times.append(time.perf_counter() - begin)
        return statistics.median(times)

    def sign(self, session: Session, key: int, algorithm: HmacAlgorithm, message: bytes) -> bytes:
        """The MAC of `message` under the key. Raises PKCS11Error; the session is then to be thrown away."""
        return self.sign_each(session, key, algorithm, (message,))[0]

    def sign_each(self, session: Session, key: int, algorithm: HmacAlgorithm, messages: Iterable[bytes]) -> list[bytes]:
        """The MACs of each message under the key. Raises as `sign` does."""
        sign_init, sign = self._sign_init, self._sign
        own: int = session.handle  # type: ignore[attr-defined]  # the stub leaves it out
        form = self._forms[algorithm].get(own) or self._form(own, algorithm)
        handle, mechanism, mac, at_mac, at_size = form
        used = key if key < _INT else _ULONG(key)
        macs = []
        for message in messages:
            code = sign_init(handle, mechanism, used) or sign(handle, message, len(message), at_mac, at_size)
            if code != _CKR_OK:
                self._forms[algorithm].pop(own, None)  # the module may have spoiled it, and may use the handle again
                raise from_code(code)
            macs.append(mac.raw)
        return macs

    def _form(self, session: int, algorithm: HmacAlgorithm) -> _Form:
        """What is said to the module in every call of a session: made once, since making it costs as much as a MAC.

        A session is one call's at a time, and so are these. They are kept for as long as the connection.
        """
        mechanism = _Mechanism(int(HMAC_MECHANISMS[algorithm]), None, 0)
        mac, size = ctypes.create_string_buffer(algorithm.size), _ULONG(algorithm.size)
        form = (_ULONG(session), ctypes.byref(mechanism), mac, ctypes.byref(mac), ctypes.byref(size))
        self._forms[algorithm][session] = form
        return form

    def _use(self, *, holding: bool) -> None:
        # Without the types of arguments: bytes and small numbers are then passed as they are, which halves the cost
        # of a call. What is no bytes, no reference and may be no small number is a c_ulong.
        prototype = (ctypes.PYFUNCTYPE if holding else ctypes.CFUNCTYPE)(_ULONG)
        self.holding = holding
        self._sign_init: _Function = prototype(self._module.function(SIGN_INIT))
        self._sign: _Function = prototype(self._module.function(SIGN))
