"""Starts OpenBao's server on the servers' core, gives it an HMAC key, and asks it to verify with that.

OpenBao speaks HTTP/1.1 where there is no TLS, so each call in flight has a connection of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.waiting import until

from bench.cores import Cores, on_cores
from bench.load import Post, WrongAnswer

PROGRAM = Path(sys.executable).with_name("bao")
_KEY = "bench"
_CALL_SECONDS = 20.0
_JSON_STRINGS = 10_000
_ACTIVE, _NOT_INITIALISED = 200, 501
"""What sys/health answers with."""


@dataclass(frozen=True, slots=True)
class OpenBao:
    """A server that is unsealed, what lets one in, and the key that it made."""

    address: str
    pid: int
    token: str = field(repr=False)
    key: bytes = field(repr=False)

    def verification(self, messages: Sequence[bytes], in_flight: int) -> Post:
        """Of one message, or a `batch_input` of several, with their MACs, which are made here."""
        items = [_item(self.key, message) for message in messages]
        body = json.dumps(items[0] if len(items) == 1 else {"batch_input": items}).encode()
        headers = (f"X-Vault-Token: {self.token}", "content-type: application/json")
        return Post(_url(self.address, _VERIFY), (self.pid,), headers, body, len(self._verified(body)), in_flight)

    def check(self, post: Post) -> None:
        """One ordinary call. Raises WrongAnswer unless every item is found right."""
        self._verified(post.body)

    def _verified(self, body: bytes) -> bytes:
        answer = _called(self.address, "POST", _VERIFY, body, self.token)
        items, found = json.loads(body).get("batch_input", [None]), json.loads(answer)["data"]
        if [True] * len(items) != [item["valid"] for item in found.get("batch_results", [found])]:
            raise WrongAnswer(f"OpenBao at {self.address} does not find right what is right")
        return answer


_VERIFY = f"transit/verify/{_KEY}"


@contextmanager
def in_memory(directory: Path, cores: Cores) -> Iterator[OpenBao]:
    """In its dev mode: nothing is written to a disk, and nothing audited. Called at a second listener, as its own
    has no configuration."""
    address, token = _free_address(), "bench-root"
    configured = _configured(directory, {"listener": [_listener(address)]})
    options = ("-dev", f"-dev-listen-address={_free_address()}", f"-dev-root-token-id={token}", "-dev-no-store-token")
    with _server(directory, cores, address, *options, configured) as process:
        until(lambda: _health(address) == _ACTIVE)
        yield _with_a_key(address, process.pid, token)


@contextmanager
def audited(directory: Path, cores: Cores) -> Iterator[OpenBao]:
    """As it is run in production, but for TLS: raft storage, and every call in an audit file."""
    address = _free_address()
    configured = _configured(directory, _configuration(directory, address))
    (directory / "raft").mkdir()
    with _server(directory, cores, address, configured) as process:
        until(lambda: _health(address) == _NOT_INITIALISED)
        made = json.loads(_called(address, "PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}))
        _called(address, "PUT", "sys/unseal", {"key": made["keys_base64"][0]})
        until(lambda: _health(address) == _ACTIVE)
        yield _with_a_key(address, process.pid, made["root_token"])


def _with_a_key(address: str, pid: int, token: str) -> OpenBao:
    def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return json.loads(_called(address, method, path, body, token) or b"null")

    call("POST", "sys/mounts/transit", {"type": "transit"})
    call("POST", f"transit/keys/{_KEY}", {"type": "hmac", "key_size": 32, "exportable": True})
    exported = call("GET", f"transit/export/hmac-key/{_KEY}")["data"]["keys"]["1"]
    return OpenBao(address, pid, token, base64.b64decode(exported))


def _configuration(directory: Path, address: str) -> dict[str, Any]:
    return {
        "storage": {"raft": {"path": str(directory / "raft"), "node_id": "bench", "performance_multiplier": "1"}},
        "listener": [_listener(address)],
        "api_addr": f"http://{address}",
        "cluster_addr": "https://127.0.0.1:0",
        "audit": [{"type": "file", "path": "file/", "options": {"file_path": str(directory / "audit.log")}}],
    }


def _listener(address: str) -> dict[str, Any]:
    """A batch of 1,000 has more strings than OpenBao takes where nothing else is said."""
    tcp = {"address": address, "cluster_address": _free_address(), "tls_disable": True}
    return {"tcp": {**tcp, "max_request_json_strings": _JSON_STRINGS}}


def _configured(directory: Path, configuration: dict[str, Any]) -> str:
    """The option that names the file with it."""
    directory.mkdir()
    file = directory / "openbao.json"
    file.write_text(json.dumps(configuration))
    return f"-config={file}"


@contextmanager
def _server(directory: Path, cores: Cores, address: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Killed at the end: nothing that it holds is needed again."""
    with (directory / "openbao.log").open("wb") as log, on_cores(cores.server):
        process = subprocess.Popen(
            [str(PROGRAM), "server", *options],
            env={"PATH": os.environ["PATH"], "HOME": str(directory)}, stdout=log, stderr=log,
        )  # fmt: skip
    with process:
        try:
            until(lambda: process.poll() is not None or _health(address) is not None)
            if process.poll() is not None:
                raise RuntimeError(f"OpenBao ended: {(directory / 'openbao.log').read_text()}")
            yield process
        finally:
            process.kill()


def _item(key: bytes, message: bytes) -> dict[str, str]:
    mac = base64.b64encode(hmac.digest(key, message, hashlib.sha256)).decode()
    return {"input": base64.b64encode(message).decode(), "hmac": f"vault:v1:{mac}"}


def _health(address: str) -> int | None:
    """The status of sys/health; None where nobody listens yet."""
    try:
        _called(address, "GET", "sys/health")
    except urllib.error.HTTPError as answer:
        return answer.code
    except OSError:
        return None
    return _ACTIVE


def _called(address: str, method: str, path: str, body: dict[str, Any] | bytes | None = None, token: str = "") -> bytes:
    raw = json.dumps(body).encode() if isinstance(body, dict) else body
    headers = {"X-Vault-Token": token} if token else {}
    request = urllib.request.Request(_url(address, path), raw, headers, method=method)
    with urllib.request.urlopen(request, timeout=_CALL_SECONDS) as answer:
        read: bytes = answer.read()
    return read


def _url(address: str, path: str) -> str:
    return f"http://{address}/v1/{path}"


def _free_address() -> str:
    """Of loopback: OpenBao does not tell which port it was given where it is told to choose."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"
