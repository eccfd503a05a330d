"""A token with faults on order: SoftHSM behind `faulty_module.c`, and the page through which a test orders them."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from enum import IntEnum
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from support.softhsm import MODULE_PATH

VARIABLE = "KEYSVC_TEST_FAULTS"
FOR_EVER = 0xFFFFFFFF


class Answer(IntEnum):
    """CKR_ values (PKCS#11 2.40)."""

    OK = 0x000
    GENERAL_ERROR = 0x005
    FUNCTION_FAILED = 0x006
    DEVICE_ERROR = 0x030
    DEVICE_REMOVED = 0x032
    SESSION_COUNT = 0x0B1
    TOKEN_NOT_PRESENT = 0x0E0


class Place(IntEnum):
    """Functions that can be broken, by their places in CK_FUNCTION_LIST."""

    INITIALIZE = 0
    FINALIZE = 1
    GET_TOKEN_INFO = 6
    OPEN_SESSION = 12
    LOGIN = 18
    DESTROY_OBJECT = 22
    SIGN_INIT = 42
    SIGN = 43
    GENERATE_KEY = 58
    WRAP_KEY = 60
    UNWRAP_KEY = 61
    GENERATE_RANDOM = 64


_HEAD = struct.Struct("4I")  # struct orders: gone, poison, flip, distance
_ORDER = struct.Struct("6I")  # struct order: answer, answers, microseconds, delays, calls, waiting
_PLACES = 68


@cache
def built() -> Path:
    """The module, compiled once a process."""
    compiler = shutil.which("cc")
    assert compiler is not None, "these tests need a C compiler: apt install gcc libc6-dev"
    made = Path(mkdtemp(prefix="keysvc-faulty-")) / "faulty_module.so"
    source = Path(__file__).with_name("faulty_module.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f'-DREAL_MODULE="{MODULE_PATH}"',
         "-o", str(made), str(source)],
        check=True,
    )  # fmt: skip
    return made


class Faults:
    """The page of orders. They hold at once, for calls that wait just then too."""

    def __init__(self, path: Path, distance: float = 0) -> None:
        """`distance` is how long every MAC takes, in seconds, as with a token across a network."""
        path.write_bytes(bytes(_HEAD.size + _PLACES * _ORDER.size))
        self.path = path
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)
        self._put(12, int(distance * 1_000_000))

    @property
    def settings(self) -> dict[str, str]:
        """For the environment of a keysvc that is to have these faults."""
        return {"KEYSVC_PKCS11_MODULE": str(built()), VARIABLE: str(self.path)}

    def gone(self, answer: Answer) -> None:
        """Every function answers this, until OK is ordered."""
        self._put(0, answer)

    def poison(self, times: int) -> None:
        """The next MACs fail midway, and their sessions stay in the operation for ever."""
        self._put(4, times)

    def flip(self, times: int) -> None:
        """The next MACs have a wrong bit."""
        self._put(8, times)

    def answer(self, place: Place, answer: Answer, times: int = FOR_EVER) -> None:
        """The function answers this, for so many calls."""
        self._put(_at(place), answer)
        self._put(_at(place) + 4, times)

    def slow(self, place: Place, seconds: float, times: int = FOR_EVER) -> None:
        """The function takes so long, for so many calls. 0 lets those go on that wait."""
        self._put(_at(place) + 8, int(seconds * 1_000_000))
        self._put(_at(place) + 12, times)

    def hang(self, place: Place, times: int = FOR_EVER) -> None:
        self.slow(place, 1000, times)

    def none(self) -> None:
        """Takes every order back, and lets those go on that wait."""
        self.gone(Answer.OK)
        self.poison(0)
        self.flip(0)
        for place in Place:
            self.answer(place, Answer.OK, 0)
            self.slow(place, 0, 0)

    def calls(self, place: Place) -> int:
        """How often the function was called."""
        return self._get(_at(place) + 16)

    def waiting(self, place: Place) -> int:
        """How many calls of the function wait just now."""
        return self._get(_at(place) + 20)

    def _put(self, offset: int, value: int) -> None:
        self._page[offset : offset + 4] = value.to_bytes(4, "little")

    def _get(self, offset: int) -> int:
        return int.from_bytes(self._page[offset : offset + 4], "little")


def _at(place: Place) -> int:
    return _HEAD.size + place * _ORDER.size
