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

from pkcs11 import Session

from keysvc.hsm.attributes import HMAC_MECHANISMS
from keysvc.hsm.faults import from_code
from keysvc.hsm.module import SIGN, SIGN_INIT, Module
from keysvc.model.slots import HmacAlgorithm

HOLD_BELOW_SECONDS = 100e-6
LET_GO_ABOVE_SECONDS = 1e-3
MAX_MAC_BYTES = 64
_TRIALS = 11
_CKR_OK = 0
_ULONG = ctypes.c_ulong

_Function = Callable[..., int]


class _Mechanism(ctypes.Structure):
    """CK_MECHANISM without a parameter."""

    _fields_ = [("mechanism", _ULONG), ("pParameter", ctypes.c_void_p), ("ulParameterLen", _ULONG)]


class Signer:
    """Signs in any session of the process, one call at a time in each. Thread-safe."""

    def __init__(self, module: Module) -> None:
        """Lets go of the GIL until `measure` finds that it need not."""
        self._module = module
        self._mechanisms = {
            algorithm: ctypes.byref(_Mechanism(int(mechanism), None, 0))
            for algorithm, mechanism in HMAC_MECHANISMS.items()
        }
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
        return self.sign_each(session, [(key, algorithm, message)])[0]

    def sign_each(self, session: Session, asked: Iterable[tuple[int, HmacAlgorithm, bytes]]) -> list[bytes]:
        """The MACs of each message under its key. Raises as `sign` does."""
        handle = session.handle  # type: ignore[attr-defined]  # the stub leaves it out
        sign_init, sign, mechanisms = self._sign_init, self._sign, self._mechanisms
        mac, size = ctypes.create_string_buffer(MAX_MAC_BYTES), _ULONG()
        at_size = ctypes.byref(size)
        macs = []
        for key, algorithm, message in asked:
            size.value = MAX_MAC_BYTES
            code = sign_init(handle, mechanisms[algorithm], key)
            if code == _CKR_OK:
                code = sign(handle, message, len(message), mac, at_size)
            if code != _CKR_OK:
                raise from_code(code)
            macs.append(mac.raw[: size.value])
        return macs

    def _use(self, *, holding: bool) -> None:
        prototype = ctypes.PYFUNCTYPE if holding else ctypes.CFUNCTYPE
        self.holding = holding
        self._sign_init: _Function = prototype(_ULONG, _ULONG, ctypes.c_void_p, _ULONG)(
            self._module.function(SIGN_INIT)
        )
        self._sign: _Function = prototype(_ULONG, _ULONG, ctypes.c_char_p, _ULONG, ctypes.c_char_p, ctypes.c_void_p)(
            self._module.function(SIGN)
        )
