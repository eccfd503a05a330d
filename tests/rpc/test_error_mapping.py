"""Each class of error, raised by a handler behind the real gate on a real socket; and errors that are none of ours."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
import structlog
from support.server import Client, Refusal, refusal
from support.softhsm import Tokens

from keysvc.cli import assembly, wiring
from keysvc.cli.assembly import Limits
from keysvc.cli.settings import Settings
from keysvc.model import errors
from keysvc.model.errors import InvalidField, KeysvcError
from keysvc.model.secrets import SecretText
from keysvc.rpc.errors import CODES
from keysvc.rpc.guarded import GuardedMethod
from keysvc.rpc.intake import Intake
from keysvc.service.authority import Authority
from keysvc.service.cache import Cache
from keysvc.service.calls import Caller
from keysvc.store import schema
from keysvc.store.engine import open_engine
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1.credential_pb2 import Credential

PATH = "/keysvc.v1.CredentialService/GetCredential"
PASSWORD = "0123456789ABCDEF0123456789ABCDEF"
RETRY_HELPS = {"HSM_UNAVAILABLE", "STORE_UNAVAILABLE", "OVERLOADED", "TOO_MANY_FAILURES"}


@dataclass
class Raising:
    """GetCredential ends with whatever `error` is, or answers `answer`."""

    error: Exception | None = None
    answer: Any = field(default_factory=Credential)

    def GetCredential(self, _request: pb.GetCredentialRequest, _caller: Caller) -> Any:  # noqa: N802
        if self.error is not None:
            raise self.error
        return self.answer


@pytest.fixture(scope="module")
def raising(tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Raising, Client]]:
    """The servicer, and a client of it with the credentials of an administrator."""
    settings = Settings(database_url=f"sqlite:///{tmp_path_factory.mktemp('raising') / 'keysvc.db'}")
    schema.upgrade(open_engine(wiring.database_url(settings)))
    servicer = Raising()
    with wiring.opened(settings, tokens.module, tokens.with_keys()) as core:
        wiring.initialised(core).put("admin", SecretText(PASSWORD))
        cache = Cache(core.store, core.token, core.sealer)
        authority = Authority(core.store, core.sealer)
        guards = assembly.guards(core, cache, Limits.of(settings), authority, lambda _line: None)
        server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(
            servicer.GetCredential, pb.GetCredentialRequest.FromString, Credential.SerializeToString
        )
        intake = Intake(server, {PATH: GuardedMethod(PATH, handler, guards)}, cache.arrival, threads=2, most=100)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        intake.start()
        with Client(f"127.0.0.1:{port}", f"admin:{PASSWORD}") as client:
            yield servicer, client
        server.stop(None).wait()
        intake.close()


def told_of(raising: tuple[Raising, Client], error: Exception) -> Refusal:
    servicer, client = raising
    servicer.error = error
    try:
        return refusal(lambda: client.call("GetCredential", pb.GetCredentialRequest()))
    finally:
        servicer.error = None


def an_error(cls: type[KeysvcError]) -> KeysvcError:
    if issubclass(cls, InvalidField):
        return cls("some_field", "what is wrong with it")
    return cls("What was wrong, where, and what to do", resource="merchants/m")


@pytest.mark.parametrize("cls", CODES, ids=lambda cls: cls.__name__)
def test_each_class_arrives_with_its_code_its_reason_and_its_details(
    raising: tuple[Raising, Client], cls: type[KeysvcError]
) -> None:
    error = an_error(cls)
    told = told_of(raising, error)
    assert (CODES[cls], cls.reason, "keysvc", error.message) == (
        told.code,
        told.reason,
        told.info.domain,
        told.message,
    )
    assert error.metadata == dict(told.info.metadata)
    assert (cls is InvalidField) == (told.fields == ["some_field"])
    assert (cls.reason in RETRY_HELPS) == (told.retry is not None and told.retry.retry_delay.seconds > 0)


@pytest.mark.parametrize("cls", [errors.HsmUnavailable, errors.Integrity, InvalidField])
def test_a_subclass_arrives_as_what_it_is_a_kind_of(raising: tuple[Raising, Client], cls: type[KeysvcError]) -> None:
    narrower = type("Narrower", (cls,), {})
    told = told_of(raising, an_error(narrower))
    assert (CODES[cls], cls.reason) == (told.code, told.reason)


@pytest.mark.parametrize(
    "error",
    [KeyError("the-secret"), ValueError("the-secret"), RuntimeError("the-secret"), grpc.RpcError("the-secret")],
    ids=lambda error: type(error).__name__,
)
def test_an_unknown_exception_is_an_opaque_id_and_no_text_of_it(
    raising: tuple[Raising, Client], error: Exception
) -> None:
    with structlog.testing.capture_logs() as logged:
        told = told_of(raising, error)
    opaque_id = told.info.metadata["id"]
    assert (grpc.StatusCode.INTERNAL, "INTERNAL", "keysvc") == (told.code, told.reason, told.info.domain)
    assert opaque_id in told.message
    assert "the-secret" not in told.message + str(told.info)
    assert type(error).__name__ not in told.message + str(told.info)
    assert [(opaque_id, error)] == [(entry["id"], entry["exc_info"]) for entry in logged]


def test_two_failures_have_two_ids(raising: tuple[Raising, Client]) -> None:
    with structlog.testing.capture_logs():
        ids = [told_of(raising, KeyError()).info.metadata["id"] for _ in range(2)]
    assert ids[0] != ids[1]


def test_an_answer_that_cannot_be_written_is_an_opaque_id_too(raising: tuple[Raising, Client]) -> None:
    servicer, client = raising
    servicer.answer = "not a message"
    try:
        with structlog.testing.capture_logs():
            told = refusal(lambda: client.call("GetCredential", pb.GetCredentialRequest()))
    finally:
        servicer.answer = Credential()
    assert (grpc.StatusCode.INTERNAL, "INTERNAL") == (told.code, told.reason)


def test_the_same_handler_answers_when_it_raises_nothing(raising: tuple[Raising, Client]) -> None:
    _, client = raising
    assert Credential() == client.call("GetCredential", pb.GetCredentialRequest())
