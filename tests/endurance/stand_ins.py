"""Words that hypothesis writes into requests for what only a running server knows, each as long as what it becomes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

OWN = "own-zzzz"
OTHER = "oth-zzzz"
TARGET = "tgt-zzzz"
UNKNOWN = "unk-zzzz"
"""A merchant or principal that there is not."""
NEW = "new-zzzz"
"""An id that nothing has."""
REQUEST = "req-zzzzzz"
"""A request_id that nothing has."""
TOKEN_SECRET = "token-zzzz".ljust(43, "t")
CIPHERTEXT = b"ciphertext-zzzz".ljust(97, b"c")
"""Of 64 bytes of plaintext."""


@dataclass
class Actual:
    """What the words stand for now."""

    number: int
    token_secret: str
    ciphertext: bytes
    _counter: itertools.count[int] = field(default_factory=itertools.count)

    def fill(self, raw: bytes) -> bytes:
        """`raw` with what is meant in the place of the words. Its length is the same, so a message stays one."""
        if b"zzzz" not in raw:
            return raw
        count = next(self._counter)
        for word, actual in {
            OWN: own(self.number),
            OTHER: other(self.number),
            TARGET: target(self.number),
            REQUEST: f"req-{self.number % 1000:03}{count % 1000:03}",
            TOKEN_SECRET: self.token_secret,
        }.items():
            assert len(word) == len(actual)
            raw = raw.replace(word.encode(), actual.encode())
        assert len(CIPHERTEXT) == len(self.ciphertext)
        return raw.replace(NEW.encode(), _new(self.number, count)).replace(CIPHERTEXT, self.ciphertext)


def own(number: int) -> str:
    return f"own-{number:04}"


def other(number: int) -> str:
    return f"oth-{number:04}"


def target(number: int) -> str:
    return f"tgt-{number:04}"


def _new(number: int, count: int) -> bytes:
    # Base 36 of both: four digits are too few in tens.
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    value = (number * 1000 + count) % 36**4
    return ("new-" + "".join(digits[value // 36**place % 36] for place in range(4))).encode()
