"""A `keysvc dev` of its own: a process with a token and a database under one directory."""

from __future__ import annotations

import atexit
import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from keysvc.v1 import merchant_service_pb2 as mpb
from keysvc.v1.audit_service_pb2_grpc import AuditServiceStub
from keysvc.v1.credential_service_pb2_grpc import CredentialServiceStub
from keysvc.v1.hsm_key_service_pb2_grpc import HsmKeyServiceStub
from keysvc.v1.merchant_service_pb2_grpc import MerchantServiceStub
from keysvc.v1.principal_service_pb2_grpc import PrincipalServiceStub
from keysvc.v1.token_service_pb2_grpc import TokenServiceStub
from support.kept import kept_directory
from support.preloaded import Loaded

PROGRAM = Path(sys.executable).with_name("keysvc")
START_SECONDS = 60.0
CALL_SECONDS = 20.0
_DEFAULTS = {
    "KEYSVC_LISTEN": "127.0.0.1:0",
    # All tests call from one address, and many are wrong on purpose. The limits have tests of their own.
    "KEYSVC_FAILED_AUTHENTICATIONS": "1000000",
    "KEYSVC_FAILED_VERIFICATIONS": "1000000",
}
_SERVING = re.compile(r"serving on (\S+), state in")

R = TypeVar("R")


class DevServer:
    """Started and stopped by a test, by its own process id. `environment` adds KEYSVC_… settings.

    A home that is not there begins as a copy of what a first start made, since making a token's keys is most of such a
    start: `FirstStart` makes them. So does what is on another database, to which no token of another belongs.
    """

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.log = home.parent / f"{home.name}.log"
        self._environment = {**_DEFAULTS, **environment, "KEYSVC_HOME": str(home)}
        self._process: subprocess.Popen[bytes] | Loaded | None = None
        self.address = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def database(self) -> Path:
        return self.home / "keysvc.db"

    def start(self) -> DevServer:
        """Returns when it serves. A log of an earlier start is kept, and added to."""
        self._furnish()
        self.log.touch()
        begin = self.log.stat().st_size
        self._process = self._launched()
        atexit.register(self.kill)  # a test that fails may leave it running
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            text = self.log.read_bytes()[begin:].decode()
            if match := _SERVING.search(text):
                self.address = match[1]
                return self
            if (code := self._process.poll()) is not None:
                raise RuntimeError(f"keysvc dev ended with {code}: {text}")
            time.sleep(0.02)
        raise TimeoutError(f"keysvc dev did not serve: {self.log.read_text()}")

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """kill -9."""
        return self._end(signal.SIGKILL)

    def client(self, credentials: str | None = None) -> Client:
        """A client as the administrator, or as `NAME:PASSWORD`."""
        return Client(self.address, credentials or (self.home / "admin-credentials").read_text())

    def _furnish(self) -> None:
        """Puts into the home what is to be found there at the start."""
        if not self.home.exists() and not {"KEYSVC_DATABASE_URL", "PYTHONPATH"} & self._environment.keys():
            shutil.copytree(_first_home(), self.home)

    def _launched(self) -> subprocess.Popen[bytes] | Loaded:
        """Loaded before, unless other code than this process's is to be run."""
        command, environment = [str(PROGRAM), "dev"], {**os.environ, **self._environment}
        if "PYTHONPATH" not in self._environment:
            return Loaded(command, environment, self.log, self.log)
        with self.log.open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(timeout=30)
        self._process = None
        return code


class FirstStart(DevServer):
    """Whose first start makes all that it needs."""

    def _furnish(self) -> None:
        pass


@cache
def _first_home() -> Path:
    """To be copied; one in each process of tests."""
    first = FirstStart(kept_directory() / "home").start()
    assert 0 == first.stop()
    return first.home


class Client:
    """Stubs on one channel, called with credentials. Closed by `close`, or as a context manager."""

    def __init__(
        self,
        address: str,
        credentials: str | None,
        tls: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        options = [("grpc.max_receive_message_length", -1), *options]
        self.channel = grpc.secure_channel(address, tls, options) if tls else grpc.insecure_channel(address, options)
        self.metadata: tuple[tuple[str, str], ...] = ()
        if credentials is not None:
            encoded = base64.b64encode(credentials.encode()).decode()
            self.metadata = (("authorization", f"Basic {encoded}"),)
        stubs = (
            CredentialServiceStub, TokenServiceStub, MerchantServiceStub, PrincipalServiceStub, HsmKeyServiceStub,
            AuditServiceStub,
        )  # fmt: skip
        self._methods: dict[str, Any] = {}
        for stub in stubs:
            self._methods.update(vars(stub(self.channel)))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.channel.close()

    def call(self, method: str, request: Any, metadata: tuple[tuple[str, str], ...] | None = None) -> Any:
        """Calls a method of any service by its name."""
        return self._methods[method](request, metadata=metadata or self.metadata, timeout=CALL_SECONDS)

    def active_merchant(self, merchant_id: str) -> str:
        """Makes a merchant and activates it; returns its name."""
        name = f"merchants/{merchant_id}"
        self.call("CreateMerchant", mpb.CreateMerchantRequest(merchant_id=merchant_id))
        self.call("ActivateMerchant", mpb.ActivateMerchantRequest(name=name))
        return name


class Refusal:
    """An error as it came over the wire, with its details unpacked."""

    def __init__(self, error: grpc.RpcError) -> None:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details() or ""
        self.raw: bytes = status.SerializeToString() if status else b""
        details: list[AnyMessage] = list(status.details) if status else []
        self.info = _first(details, ErrorInfo)
        self.bad_request = _first(details, BadRequest)
        self.retry = _first(details, RetryInfo)

    @property
    def reason(self) -> str:
        return str(self.info.reason) if self.info else ""

    @property
    def fields(self) -> list[str]:
        return [violation.field for violation in self.bad_request.field_violations] if self.bad_request else []


def refusal(call: Callable[[], object]) -> Refusal:
    """The error that `call` ends with; an AssertionError where it ends with none."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return Refusal(error)
    raise AssertionError(f"the call was not refused, it answered {answer}")


def _first(details: list[AnyMessage], wanted: type[Any]) -> Any:
    for detail in details:
        if detail.Is(wanted.DESCRIPTOR):
            message = wanted()
            detail.Unpack(message)
            return message
    return None
