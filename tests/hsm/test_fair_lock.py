"""The lock of the holder session: one at a time, in the order of asking, and not for longer than one would wait."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from support.waiting import until

from keysvc.hsm.fair_lock import FairLock

SECONDS = 10.0


def test_those_who_wait_have_it_in_the_order_of_their_asking() -> None:
    lock, order = FairLock(), list[int]()
    assert lock.acquire(SECONDS)

    def take(number: int) -> None:
        assert lock.acquire(SECONDS)
        order.append(number)
        lock.release()

    with ThreadPoolExecutor(8) as threads:
        for number in range(8):
            threads.submit(take, number)
            until(lambda: len(lock._waiting) == number + 1)  # noqa: B023 - asked at once
        lock.release()
    assert list(range(8)) == order
    assert not lock.locked()


def test_who_comes_again_and_again_does_not_keep_it_from_who_waits() -> None:
    lock, ended = FairLock(), threading.Event()

    def again_and_again() -> None:
        while not ended.is_set():
            assert lock.acquire(SECONDS)
            lock.release()

    with ThreadPoolExecutor(3) as threads:
        for _ in range(3):
            threads.submit(again_and_again)
        waits = []
        for _ in range(50):
            begun = time.monotonic()
            assert lock.acquire(SECONDS)
            waits.append(time.monotonic() - begun)
            lock.release()
        ended.set()
    assert max(waits) < SECONDS / 2


def test_who_gives_up_waiting_is_passed_over() -> None:
    lock = FairLock()
    assert lock.acquire(SECONDS)
    assert not lock.acquire(0.01)
    lock.release()
    assert not lock.locked()
    assert lock.acquire(0.01)


def test_two_never_have_it_at_once() -> None:
    lock, inside, most = FairLock(), list[int](), list[int]()

    def work() -> None:
        for _ in range(200):
            if lock.acquire(0.0005):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0)
                inside.pop()
                lock.release()

    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(work) for _ in range(6)]:
            done.result()
    assert 1 == max(most)
    assert not lock.locked()
