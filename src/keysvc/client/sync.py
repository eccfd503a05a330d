"""The client for threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from keysvc.client import calls
from keysvc.client.batcher import BATCH, LARGE, Batcher, Batching, Sent
from keysvc.client.calls import Call, CreateOptions, RenewOptions, RevokeOptions, SignOptions
from keysvc.client.channel import Authorization, Tls, credentials_for, metadata_for, options_for
from keysvc.client.errors import closed, failure_of, too_late
from keysvc.client.methods import METHODS
from keysvc.client.received import received
from keysvc.client.results import Kind, NewSecret, Scheme, SignedWebhook, Verdict
from keysvc.v1.credential_pb2 import Credential
from keysvc.v1.rotation_pb2 import Rotation, SummarizeCredentialsResponse, SwapCredentialsResponse

R = TypeVar("R")


class Client:
    """One channel to keysvc, used by any number of threads. Made after a fork, not before. Closed by `close` or `with`.

    `address` is a gRPC target: HOST:PORT or unix:PATH. `timeout` is in seconds, for each call that gives none of its
    own. Every method raises CallFailed.
    """

    def __init__(
        self,
        address: str,
        authorization: Authorization | None = None,
        *,
        tls: Tls | None = None,
        timeout: float = 5.0,
        batching: Batching | None = None,
    ) -> None:
        """Does not connect yet. Raises ValueError for an address off loopback without `tls`."""
        credentials, options = credentials_for(address, tls), options_for(authorization)
        self._authorization = authorization
        self._timeout = timeout
        self._channel = (
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
        )
        self._callables: dict[str, Any] = {
            method.path: self._channel.unary_unary(
                method.path, method.request.SerializeToString, method.response.FromString
            )
            for method in METHODS.values()
        }
        self._batcher = Batcher(batching, self._start_batch) if batching else None
        self._closed = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Calls under way fail."""
        self._closed = True
        if self._batcher:
            self._batcher.close()
        self._channel.close()

    def call(self, method: str, request: Message | Mapping[str, Any], *, timeout: float | None = None) -> Any:
        """Calls any rpc, as `call("MerchantService/GetMerchant", {"name": "merchants/m"})`; answers its response.

        The request is the rpc's message, or its fields. A response that holds a secret shows it in its `repr`.
        """
        return self._run(calls.any_rpc(method, request), timeout)

    def verify_hmac(self, name: str, message: bytes, mac: bytes, *, timeout: float | None = None) -> Verdict:
        call = calls.verify_hmac(name, message, mac)
        if self._batcher is None or call.request.ByteSize() > LARGE:
            return self._run(call, timeout)
        return self._in_batch(self._batcher, call, self._timeout if timeout is None else timeout)

    def verify_api_key(self, name: str, api_key: str, *, timeout: float | None = None) -> Verdict:
        return self._run(calls.verify_api_key(name, api_key), timeout)

    def verify_webhook(
        self,
        name: str,
        scheme: Scheme,
        request: object,
        *,
        tolerance: timedelta | None = None,
        timeout: float | None = None,
    ) -> Verdict:
        """`request` is a framework's request, or a ReceivedWebhook. Raises TypeError for what is neither."""
        return self._run(calls.verify_webhook(name, Scheme(scheme), received(request), tolerance), timeout)

    def sign_webhook(
        self, name: str, scheme: Scheme, body: bytes, *, timeout: float | None = None, **options: Unpack[SignOptions]
    ) -> SignedWebhook:
        return self._run(calls.sign_webhook(name, Scheme(scheme), body, options), timeout)

    def generate_hmac(self, name: str, message: bytes, *, timeout: float | None = None) -> bytes:
        return self._run(calls.generate_hmac(name, message), timeout)

    def create_credential(
        self, name: str, *, timeout: float | None = None, **options: Unpack[CreateOptions]
    ) -> NewSecret:
        return self._run(calls.create_credential(name, options), timeout)

    def renew_credential(
        self, name: str, *, timeout: float | None = None, **options: Unpack[RenewOptions]
    ) -> NewSecret:
        return self._run(calls.renew_credential(name, options), timeout)

    def revoke_credential(
        self, name: str, *, timeout: float | None = None, **options: Unpack[RevokeOptions]
    ) -> Credential:
        return self._run(calls.revoke_credential(name, options), timeout)

    def get_rotation(
        self, name: str, kind: Kind, *, unused_for: timedelta | None = None, timeout: float | None = None
    ) -> Rotation:
        return self._run(calls.get_rotation(name, Kind(kind), unused_for), timeout)

    def swap_credentials(
        self, name: str, kind: Kind, *, etag: str = "", request_id: str = "", timeout: float | None = None
    ) -> SwapCredentialsResponse:
        return self._run(calls.swap_credentials(name, Kind(kind), etag, request_id), timeout)

    def summarize_credentials(
        self,
        parent: str,
        *,
        due_within: timedelta | None = None,
        used_within: timedelta | None = None,
        timeout: float | None = None,
    ) -> SummarizeCredentialsResponse:
        return self._run(calls.summarize_credentials(parent, due_within, used_within), timeout)

    def list_credentials(
        self,
        parent: str,
        *,
        due_within: timedelta | None = None,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Iterator[Credential]:
        """All of them, fetched page by page as they are asked for. `timeout` is a page's."""
        token = ""
        while True:
            page = self._run(calls.list_credentials(parent, due_within, page_size, token), timeout)
            yield from page.credentials
            token = page.next_page_token
            if not token:
                return

    def _run(self, call: Call[R], timeout: float | None) -> R:
        metadata = metadata_for(self._authorization)
        seconds = self._timeout if timeout is None else timeout
        with self._failing():
            answer = self._callables[call.method.path](call.request, timeout=seconds, metadata=metadata)
        return call.read(answer)

    def _in_batch(self, batcher: Batcher, call: Call[Verdict], timeout: float) -> Verdict:
        verdict: Future[Verdict] = Future()
        batcher.add(call.request, timeout, verdict)
        try:
            return verdict.result(timeout)
        except TimeoutError:
            raise too_late() from None

    def _start_batch(self, request: Message, timeout: float) -> Sent:
        batch = self._callables[BATCH.path]
        metadata = metadata_for(self._authorization)
        with self._failing():
            sent: Sent = batch.future(request, timeout=timeout, metadata=metadata)
        return sent

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise failure_of(error) from None
        except ValueError:
            if self._closed:  # which a channel tells by a ValueError
                raise closed() from None
            raise
