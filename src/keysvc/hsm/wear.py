"""How many keys one connection has made in the token, and whether so many that the module is to be initialised anew.

SoftHSM 2.6 keeps some 290 bytes of every session object for as long as the module is initialised, also when the object
was destroyed and its session closed: see docs/decisions/0017.
"""

from __future__ import annotations

_GRACE = 0.1
"""How much longer a connection serves that could not be replaced, as a part of its life."""


class Wear:
    """Counted without a lock: of a great many, one may be lost."""

    def __init__(self, life: int) -> None:
        """`life` is in keys; 0 is for ever."""
        self._life = self._end = life
        self.made = 0

    def add(self) -> None:
        """A key was made in the token, or unwrapped into it."""
        self.made += 1

    @property
    def is_over(self) -> bool:
        return 0 < self._end <= self.made

    def prolong(self) -> None:
        """Serves on for a while."""
        self._end = self.made + max(1, int(self._life * _GRACE))
