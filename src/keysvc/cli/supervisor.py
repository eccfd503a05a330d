"""`keysvc serve --workers N`: starts the processes that serve, replaces those that die, and ends them all together.

It serves nothing itself, and never loads the token's module. One thread; signals and workers wake it.
"""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Callable
from time import monotonic

import structlog

from keysvc.cli.worker import NEVER_AGAIN, Start, Worker

START_SECONDS = 120.0
"""After which a worker that does not serve is given up."""
LONG_LIFE_SECONDS = 60.0
"""A worker that lived so long is replaced at once."""
_EXIT_SECONDS = 5.0
"""For a worker that has closed its stdout, which is its last act."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_ENDINGS = frozenset({signal.SIGTERM, signal.SIGINT})
_HEEDED = (*_ENDINGS, signal.SIGHUP, signal.SIGCHLD)
_WELL = frozenset({0, -signal.SIGTERM})
"""How a worker ends that was told to: the second before it serves."""

log = structlog.get_logger(__name__)


class EndAsked(Exception):
    """SIGTERM or SIGINT came. The service ends."""


class Wakeups:
    """Signals of this process, one thread's to wait for together with a descriptor."""

    def __init__(self) -> None:
        self._woken, self._wake = socket.socketpair()
        self._roll = False
        for end in (self._woken, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in _HEEDED:
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float | None, descriptor: int | None = None) -> bool:
        """Until a signal comes, the descriptor has something to read (then True), or time is up. Raises EndAsked."""
        watched = [self._woken.fileno(), *([] if descriptor is None else [descriptor])]
        readable, _, _ = select.select(watched, [], [], seconds)
        if self._woken.fileno() in readable:
            came = set(self._woken.recv(4096))
            self._roll |= signal.SIGHUP in came
            if came & _ENDINGS:
                raise EndAsked
        return descriptor in readable

    def roll_asked(self) -> bool:
        """Whether SIGHUP came since this was last asked."""
        asked, self._roll = self._roll, False
        return asked

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        for end in (self._woken, self._wake):
            end.close()


class Supervisor:
    """Run once, in the main thread."""

    def __init__(self, start: Start, workers: int, drain_seconds: float) -> None:
        """`drain_seconds` is what a worker may take to end before it is killed."""
        self._start = start
        self._numbers = range(1, workers + 1)
        self._drain_seconds = drain_seconds
        self._workers: dict[int, Worker] = {}
        self._due: dict[int, float] = {}
        """When to start the worker of a number that has none."""
        self._pauses: dict[int, float] = {}

    def run(self, ready: Callable[[], None]) -> int:
        """`ready` is told when all serve. Returns the exit code when none is left: 0 where that was asked for.

        A worker that does not start at first has told why, and ends all.
        """
        wakeups = Wakeups()
        asked = False
        try:
            if all(self._started(number, wakeups) for number in self._numbers):
                ready()
                self._watch(wakeups)
        except EndAsked:
            asked = True
        finally:
            well = self._end_all()
            wakeups.close()
        return 0 if asked and well else 1

    def _watch(self, wakeups: Wakeups) -> None:
        """Replaces workers that die. Returns where none is left, nor may be started. Raises EndAsked."""
        while self._left():
            if wakeups.roll_asked():
                self._roll(wakeups)
            elif (due := min(self._due.items(), key=lambda item: item[1], default=None)) is None:
                wakeups.wait(None)
            elif (left := due[1] - monotonic()) > 0:
                wakeups.wait(left)
            else:
                self._replace(due[0], wakeups)

    def _left(self) -> bool:
        self._bury()
        return bool(self._workers or self._due)

    def _roll(self, wakeups: Wakeups) -> bool:
        """One after another ends and is started anew. Stops at the first that does not start: the others serve on."""
        log.info("workers.rolling")
        for number in self._numbers:
            worker = self._workers.get(number)
            if worker is not None:
                self._end_one(worker, wakeups)
            if not self._replace(number, wakeups):
                log.error("workers.roll_stopped", worker=number)
                return False
        log.info("workers.rolled")
        return True

    def _end_one(self, worker: Worker, wakeups: Wakeups) -> None:
        worker.tell(signal.SIGHUP)
        deadline = monotonic() + self._drain_seconds
        while not worker.ended and (left := deadline - monotonic()) > 0:
            wakeups.wait(left)
        worker.end_by(deadline)
        del self._workers[worker.number]

    def _replace(self, number: int, wakeups: Wakeups) -> bool:
        self._due.pop(number, None)
        if self._started(number, wakeups):
            return True
        self._bury()
        return False

    def _started(self, number: int, wakeups: Wakeups) -> bool:
        """One at a time: a token's module may fail where several processes initialise it at once. Raises EndAsked."""
        worker = self._workers[number] = self._start(number)
        deadline = monotonic() + START_SECONDS
        while (left := deadline - monotonic()) > 0:
            if wakeups.wait(left, worker.descriptor):
                if not worker.says_ready():
                    break
                log.info("worker.serving", worker=number, pid=worker.process.pid)
                return True
        worker.end_by(monotonic() + _EXIT_SECONDS)
        return False

    def _bury(self) -> None:
        """Sees who has died, and when to start another in its place."""
        for number, worker in list(self._workers.items()):
            if not worker.ended:
                continue
            del self._workers[number]
            worker.forget()
            code = worker.process.returncode
            if code == NEVER_AGAIN:
                log.error("worker.given_up", worker=number)
                continue
            pause = self._pause(number, monotonic() - worker.started)
            self._due[number] = monotonic() + pause
            log.warning("worker.died", worker=number, pid=worker.process.pid, code=code, pause=pause)

    def _pause(self, number: int, lived: float) -> float:
        """Longer each time, for one that dies again and again."""
        before = self._pauses.get(number, _FIRST_PAUSE / 2)
        pause = 0.0 if lived > LONG_LIFE_SECONDS else min(_LONGEST_PAUSE, before * 2)
        self._pauses[number] = max(pause, _FIRST_PAUSE / 2)
        return pause

    def _end_all(self) -> bool:
        """True where all ended as they should."""
        for worker in self._workers.values():
            worker.tell(signal.SIGTERM)
        deadline = monotonic() + self._drain_seconds
        codes = [worker.end_by(deadline) for worker in self._workers.values()]
        return _WELL.issuperset(codes)
