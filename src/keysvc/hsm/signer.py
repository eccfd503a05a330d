"""C_SignInit and C_Sign, called straight: the hot path (PKCS#11 2.40 sections 5.11 and 5.12).

python-pkcs11 lets go of the GIL three times for one MAC. A software token answers in a few
microseconds, less than it takes to get the GIL back from the other threads: under load those waits
cost several times the MAC itself. So the signer measures the token when it connects, and keeps the
GIL for one that answers faster than `HOLD_BELOW_SECONDS`; for a network HSM, which takes a
millisecond, it lets go, and other threads work meanwhile. See docs/decisions/0003, and 0019 for its loop in C.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable

from pkcs11 import Session

from keysvc.hsm import macs
from keysvc.hsm.attributes import HMAC_MECHANISMS
from keysvc.hsm.faults import from_code
from keysvc.hsm.module import SIGN, SIGN_INIT, Module
from keysvc.model.slots import HmacAlgorithm

HOLD_BELOW_SECONDS = 100e-6
LET_GO_ABOVE_SECONDS = 1e-3
_TRIALS = 11


class Signer:
    """Signs in any session of the process, one call at a time in each. Thread-safe."""

    def __init__(self, module: Module) -> None:
        self._sign_init, self._sign = module.function(SIGN_INIT), module.function(SIGN)
        self.holding = False
        """Whether it keeps the GIL: not until `measure` finds that it may."""

    def measure(self, session: Session, key: int, algorithm: HmacAlgorithm) -> None:
        """Times a few MACs, and decides whether to keep the GIL. Raises PKCS11Error."""
        self.holding = False
        self.holding = self._seconds(session, key, algorithm) < HOLD_BELOW_SECONDS

    def watch(self, session: Session, key: int, algorithm: HmacAlgorithm) -> None:
        """Times a token that was fast once more, and lets go of the GIL for good where it has become slow.

        One that was slow is not timed: what it takes to get the GIL back is no time of the token's.
        """
        if self.holding and self._seconds(session, key, algorithm) > LET_GO_ABOVE_SECONDS:
            self.holding = False

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
        own: int = session.handle  # type: ignore[attr-defined]  # the stub leaves it out
        mechanism = HMAC_MECHANISMS[algorithm]
        made = macs.sign_each(self._sign_init, self._sign, self.holding, own, mechanism, key, messages)
        if isinstance(made, int):
            raise from_code(made)
        return made
