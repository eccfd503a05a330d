"""Who stands in the headline's table, and what each of them is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from bench.bare import SERVICE
from bench.cores import Cores
from bench.known_keys import make_key
from bench.load import Post, Question, Target, check, posted
from bench.openbao import OpenBao, audited, in_memory
from bench.questions import MESSAGE_BYTES, read_questions
from bench.servers import bare_server, keysvc
from keysvc.cli.settings import read_settings
from keysvc.v1 import credential_service_pb2 as pb

IN_FLIGHT = (1, 16, 64)
BATCHES = (1, 100, 1_000)
KEYSVC, MANY_KEYS = "keysvc", "keysvc, as many keys"
AUDITED, IN_MEMORY = "OpenBao", "OpenBao dev mode"
ECHO, TYPED = "bare echo", "bare, typed"
_SERVERS = (KEYSVC, MANY_KEYS, AUDITED, IN_MEMORY, ECHO, TYPED)
_MANY_AT = 16
_BATCH = "/keysvc.v1.CredentialService/BatchVerifyHmac"


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """What one line of the table is of."""

    server: str
    items: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server is sent, and what checks one of its answers word for word."""

    post: Post
    check: Callable[[], None]


@contextmanager
def all_asked(home: Path, cores: Cores) -> Iterator[dict[Cell, Asked]]:
    """All servers are up at once, and called in turns."""
    with ExitStack() as stack:
        ours = stack.enter_context(keysvc(home, cores, KEYSVC_METRICS_LISTEN="127.0.0.1:0"))
        address, pid = stack.enter_context(bare_server(read_settings().threads, cores))
        # Called with the same header as keysvc, so that both read as many bytes.
        echo = Target(address, (pid,), ours.authorization, f"/{SERVICE}/Echo")
        typed = replace(echo, method=f"/{SERVICE}/Typed")
        others = list(islice(cycle(read_questions(home)), max(BATCHES)))  # the shortest bench has fewer merchants
        known = make_key(ours, "headline")
        bao = {
            name: stack.enter_context(server(home.with_name(f"openbao-{server.__name__}"), cores))
            for name, server in ((AUDITED, audited), (IN_MEMORY, in_memory))
        }
        asked: dict[Cell, Asked] = {}
        for items in BATCHES:
            messages = _messages(items)
            question = _asking([known.verification(message) for message in messages])
            target = ours if items == 1 else replace(ours, method=_BATCH)
            for in_flight in IN_FLIGHT:
                sides = {
                    KEYSVC: _by_grpc(target, question, in_flight),
                    ECHO: _by_grpc(echo, Question(question.request, question.request), in_flight),
                    **{name: _by_http(server, messages, in_flight) for name, server in bao.items()},
                }
                if items == 1:
                    sides[TYPED] = _by_grpc(typed, question, in_flight)
                elif in_flight == _MANY_AT:
                    sides[MANY_KEYS] = _by_grpc(target, _asking(others[:items]), in_flight)
                asked |= {Cell(name, items, in_flight): sides[name] for name in _SERVERS if name in sides}
        yield asked


def _messages(items: int) -> list[bytes]:
    begins = [b'{"number": %04d, "note": "' % number for number in range(items)]
    return [begin.ljust(MESSAGE_BYTES - 2, b"x") + b'"}' for begin in begins]


def _asking(questions: list[Question]) -> Question:
    """VerifyHmac of one; all of several in one call, each with its right answer."""
    if len(questions) == 1:
        return questions[0]
    requests = [pb.VerifyHmacRequest.FromString(question.request) for question in questions]
    answers = [pb.VerifyHmacResponse.FromString(question.answer) for question in questions]
    outcomes = [pb.BatchVerifyHmacResponse.Outcome(response=answer) for answer in answers]
    return Question(
        pb.BatchVerifyHmacRequest(requests=requests).SerializeToString(),
        pb.BatchVerifyHmacResponse(results=outcomes).SerializeToString(),
    )


def _by_grpc(target: Target, question: Question, in_flight: int) -> Asked:
    return Asked(posted(target, question, in_flight), lambda: check(target, question))


def _by_http(server: OpenBao, messages: list[bytes], in_flight: int) -> Asked:
    sent = server.verification(messages, in_flight)
    return Asked(sent, lambda: server.check(sent))
