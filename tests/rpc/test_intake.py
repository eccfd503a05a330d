"""Where unary calls come in: each is answered once, whatever the others do, and whatever becomes of its caller."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from support.asking import ask, slot_of
from support.server import Client, Refusal

from keysvc.rpc.core import Answer
from keysvc.rpc.intake import Intake, Method
from keysvc.rpc.turn import Turn
from keysvc.v1 import credential_service_pb2 as pb

QUICK, SLOW, STALLS = "/test/Quick", "/test/Slow", "/test/Stalls"
FAILS, FAILS_QUICKLY = "/test/Fails", "/test/FailsQuickly"
SENSELESS, SENSELESS_QUICKLY = "/test/Senseless", "/test/SenselessQuickly"
MOST = 3
STREAMS = 50
SECONDS = 10


class Echo:
    """Answered by the intake's own thread."""

    def is_quick(self, _turn: Turn) -> bool:
        return True

    def answer(self, turn: Turn) -> Answer:
        return turn.raw

    def overloaded(self, _turn: Turn) -> Answer:
        return b"overloaded"


class Held(Echo):
    """Answered by a thread, when it is allowed to."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.allowed = threading.Event()

    def is_quick(self, _turn: Turn) -> bool:
        return False

    def answer(self, turn: Turn) -> Answer:
        self.begun.release()
        assert self.allowed.wait(SECONDS)
        return turn.raw


class Stalling(Echo):
    """Takes long, and was not to."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def answer(self, turn: Turn) -> Answer:
        self.threads.append(threading.current_thread().name)
        time.sleep(0.1)
        return turn.raw


class Failing(Echo):
    """Raises, which a method must not."""

    def __init__(self, *, quick: bool) -> None:
        self._quick = quick

    def is_quick(self, _turn: Turn) -> bool:
        return self._quick

    def answer(self, _turn: Turn) -> Answer:
        raise RuntimeError("secret")


class Senseless(Failing):
    """Answers what gRPC does not take."""

    def answer(self, _turn: Turn) -> Answer:
        return None  # type: ignore[return-value]


class Serving:
    """A server that is all intake."""

    def __init__(self) -> None:
        self.held, self.stalling = Held(), Stalling()
        methods: dict[str, Method] = {
            QUICK: Echo(),
            SLOW: self.held,
            STALLS: self.stalling,
            FAILS: Failing(quick=False),
            FAILS_QUICKLY: Failing(quick=True),
            SENSELESS: Senseless(quick=False),
            SENSELESS_QUICKLY: Senseless(quick=True),
        }
        self._server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.max_concurrent_streams", STREAMS)])
        self.intake = Intake(self._server, methods, lambda: 0, threads=1, most=MOST)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        self.intake.start()

    def stop(self) -> None:
        self._server.stop(None).wait()
        self.intake.close()


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Ends in time, whatever a test did."""
    made = Serving()
    yield made
    made.held.allowed.set()
    _within(made.stop)
    assert set() == made.intake.calls()


@pytest.fixture
def channel(serving: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(serving.address, [("grpc.use_local_subchannel_pool", 1)]) as made:
        yield made


def _within(work: Callable[[], None]) -> None:
    """What may never end must not keep the tests from ending."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _call(channel: grpc.Channel, path: str, message: bytes = b"m") -> bytes:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return call(message, timeout=SECONDS)


def _begin(channel: grpc.Channel, path: str, message: bytes = b"m") -> Any:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return call.future(message, timeout=SECONDS)


def _refused(channel: grpc.Channel, path: str) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        _call(channel, path)
    return Refusal(caught.value)


def _without_a_message(channel: grpc.Channel, path: str) -> Refusal:
    call: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(path)
    with pytest.raises(grpc.RpcError) as caught:
        call(iter(()), timeout=SECONDS)
    return Refusal(caught.value)


def test_quick_calls_are_answered_while_slow_ones_hold_every_thread(serving: Serving, channel: grpc.Channel) -> None:
    slow = [_begin(channel, SLOW, b"first"), _begin(channel, SLOW, b"second")]
    assert serving.held.begun.acquire(timeout=SECONDS)
    assert [b"a", b"b"] == [_call(channel, QUICK, b"a"), _call(channel, QUICK, b"b")]
    assert [False, False] == [call.done() for call in slow]
    serving.held.allowed.set()
    assert [b"first", b"second"] == [call.result() for call in slow]


def test_those_behind_a_quick_call_that_is_held_up_are_given_to_threads(
    serving: Serving, channel: grpc.Channel
) -> None:
    first = _begin(channel, STALLS)
    _until(lambda: bool(serving.stalling.threads))
    behind = [_begin(channel, STALLS) for _ in range(3)]
    assert [b"m"] * 4 == [call.result() for call in (first, *behind)]
    assert {"keysvc-intake", "keysvc-call_0"} == set(serving.stalling.threads)


def test_where_as_many_wait_as_may_the_next_is_turned_away_at_once(serving: Serving, channel: grpc.Channel) -> None:
    held = [_begin(channel, SLOW)]
    assert serving.held.begun.acquire(timeout=SECONDS)
    held += [_begin(channel, SLOW) for _ in range(MOST)]
    _until(lambda: serving.intake.waiting() == MOST)
    assert [b"overloaded"] * 2 == [_call(channel, SLOW), _call(channel, QUICK)]
    serving.held.allowed.set()
    assert [b"m"] * (1 + MOST) == [call.result() for call in held]


def test_a_call_that_is_cancelled_while_a_thread_has_it_does_not_hold_up_the_end(
    serving: Serving, channel: grpc.Channel
) -> None:
    call = _begin(channel, SLOW)
    assert serving.held.begun.acquire(timeout=SECONDS)
    (here,) = serving.intake.calls()
    assert here.is_active()
    call.cancel()
    _until(lambda: not here.is_active())
    serving.held.allowed.set()
    _until(lambda: not serving.intake.calls())


def test_the_end_waits_for_a_thread_and_for_nobody_s_caller(serving: Serving, channel: grpc.Channel) -> None:
    call = _begin(channel, SLOW)
    assert serving.held.begun.acquire(timeout=SECONDS)
    ended = threading.Thread(target=serving.stop, daemon=True)
    ended.start()
    assert grpc.StatusCode.UNAVAILABLE is call.code()
    assert ended.is_alive()
    serving.held.allowed.set()
    ended.join(SECONDS)
    assert not ended.is_alive()


def test_calls_that_come_at_the_end_are_answered_or_told_that_they_are_not(serving: Serving) -> None:
    codes: list[object] = []

    def calling() -> None:
        with grpc.insecure_channel(serving.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            while not codes or codes[-1] is None:
                call = _begin(channel, QUICK)
                error = call.exception()
                codes.append(error and error.code())

    caller = threading.Thread(target=calling, daemon=True)
    caller.start()
    _until(lambda: len(codes) > 20)
    _within(serving.stop)
    caller.join(SECONDS)
    assert {None, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED} >= set(codes)
    assert not caller.is_alive()


@pytest.mark.parametrize("path", [QUICK, SLOW])
def test_a_call_without_a_message_is_told_what_is_wrong(channel: grpc.Channel, path: str) -> None:
    refusal = _without_a_message(channel, path)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD") == (refusal.code, refusal.reason)
    assert b"m" == _call(channel, QUICK)


@pytest.mark.parametrize("path", [FAILS, FAILS_QUICKLY])
def test_a_method_that_raises_is_answered_with_an_id_and_stops_no_other(channel: grpc.Channel, path: str) -> None:
    for _ in range(2):
        refusal = _refused(channel, path)
        assert (grpc.StatusCode.INTERNAL, "INTERNAL") == (refusal.code, refusal.reason)
        assert "secret" not in refusal.message
    assert b"m" == _call(channel, QUICK)


@pytest.mark.parametrize("path", [SENSELESS, SENSELESS_QUICKLY])
def test_a_call_that_cannot_be_answered_is_broken_off(channel: grpc.Channel, path: str) -> None:
    begun = time.monotonic()
    for _ in range(2):
        _refused(channel, path)
    assert SECONDS / 2 > time.monotonic() - begun
    assert b"m" == _call(channel, QUICK)


@pytest.mark.parametrize("path", [QUICK, SLOW])
def test_an_answered_call_leaves_no_stream_open(serving: Serving, channel: grpc.Channel, path: str) -> None:
    """gRPC counts a call as open until nobody holds on to it: the next would wait for ever."""
    serving.held.allowed.set()
    assert {b"m"} == {_call(channel, path) for _ in range(4 * STREAMS)}


@pytest.fixture
def verified(client: Client, merchant: str) -> pb.VerifyHmacRequest:
    slot = slot_of(merchant, "primary-hmac-key")
    ask(client, "CreateCredential", name=slot)
    mac = ask(client, "GenerateHmac", name=slot, message=b"m").mac
    return pb.VerifyHmacRequest(name=slot, message=b"m", mac=mac)


def test_more_quick_calls_than_streams_are_answered_on_one_connection(
    client: Client, verified: pb.VerifyHmacRequest
) -> None:
    results = {client.call("VerifyHmac", verified).result for _ in range(1_100)}
    assert {pb.VerifyHmacResponse.VALID} == results


def test_a_call_of_keysvc_s_without_a_message_is_told_what_is_wrong(client: Client) -> None:
    refusal = _without_a_message(client.channel, "/keysvc.v1.CredentialService/VerifyHmac")
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD") == (refusal.code, refusal.reason)


def test_a_quick_call_that_is_refused_proves_who_calls_first(client: Client, verified: pb.VerifyHmacRequest) -> None:
    client.call("VerifyHmac", verified)
    twice = (*client.metadata, *client.metadata)
    with pytest.raises(grpc.RpcError) as caught:
        client.call("VerifyHmac", verified, metadata=twice)
    assert "UNAUTHENTICATED" == Refusal(caught.value).reason
