"""The client for asyncio: the same methods, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar, Unpack

import grpc
import grpc.aio
from google.protobuf.message import Message

from keysvc.client import calls
from keysvc.client.batcher import BATCH, LARGE, Batcher, Batching, Sent
from keysvc.client.calls import Call, CreateOptions, RenewOptions, RevokeOptions, SignOptions
from keysvc.client.channel import Authorization, Tls, credentials_for, metadata_for, options_for
from keysvc.client.errors import closed, failure_of, too_late
from keysvc.client.methods import METHODS, Method
from keysvc.client.received import received_async
from keysvc.client.results import Kind, NewSecret, Scheme, SignedWebhook, Verdict
from keysvc.v1.credential_pb2 import Credential
from keysvc.v1.rotation_pb2 import Rotation, SummarizeCredentialsResponse, SwapCredentialsResponse

R = TypeVar("R")


class AsyncClient:
    """One channel to keysvc, for one event loop: made where it runs, and used there only. Else as Client."""

    def __init__(
        self,
        address: str,
        authorization: Authorization | None = None,
        *,
        tls: Tls | None = None,
        timeout: float = 5.0,
        batching: Batching | None = None,
    ) -> None:
        """As Client, and raises RuntimeError where no event loop runs."""
        asyncio.get_running_loop()
        credentials, options = credentials_for(address, tls), options_for(authorization)
        self._authorization = authorization
        self._timeout = timeout
        self._channel = (
            grpc.aio.secure_channel(address, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(address, options)
        )
        self._callables: dict[str, Any] = {
            method.path: self._channel.unary_unary(
                method.path, method.request.SerializeToString, method.response.FromString
            )
            for method in METHODS.values()
        }
        self._batcher = Batcher(batching, self._start_batch) if batching else None
        self._closed = False

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Calls under way fail."""
        self._closed = True
        if self._batcher:
            self._batcher.close()
        await self._channel.close()

    async def call(self, method: str, request: Message | Mapping[str, Any], *, timeout: float | None = None) -> Any:
        """Calls any rpc, as `call("MerchantService/GetMerchant", {"name": "merchants/m"})`; answers its response.

        The request is the rpc's message, or its fields. A response that holds a secret shows it in its `repr`.
        """
        return await self._run(calls.any_rpc(method, request), timeout)

    async def verify_hmac(self, name: str, message: bytes, mac: bytes, *, timeout: float | None = None) -> Verdict:
        call = calls.verify_hmac(name, message, mac)
        if self._batcher is None or call.request.ByteSize() > LARGE:
            return await self._run(call, timeout)
        return await self._in_batch(self._batcher, call, self._timeout if timeout is None else timeout)

    async def verify_api_key(self, name: str, api_key: str, *, timeout: float | None = None) -> Verdict:
        return await self._run(calls.verify_api_key(name, api_key), timeout)

    async def verify_webhook(
        self,
        name: str,
        scheme: Scheme,
        request: object,
        *,
        tolerance: timedelta | None = None,
        timeout: float | None = None,
    ) -> Verdict:
        """`request` is a framework's request, or a ReceivedWebhook. Raises TypeError for what is neither."""
        return await self._run(
            calls.verify_webhook(name, Scheme(scheme), await received_async(request), tolerance), timeout
        )

    async def sign_webhook(
        self, name: str, scheme: Scheme, body: bytes, *, timeout: float | None = None, **options: Unpack[SignOptions]
    ) -> SignedWebhook:
        return await self._run(calls.sign_webhook(name, Scheme(scheme), body, options), timeout)

    async def generate_hmac(self, name: str, message: bytes, *, timeout: float | None = None) -> bytes:
        return await self._run(calls.generate_hmac(name, message), timeout)

    async def create_credential(
        self, name: str, *, timeout: float | None = None, **options: Unpack[CreateOptions]
    ) -> NewSecret:
        return await self._run(calls.create_credential(name, options), timeout)

    async def renew_credential(
        self, name: str, *, timeout: float | None = None, **options: Unpack[RenewOptions]
    ) -> NewSecret:
        return await self._run(calls.renew_credential(name, options), timeout)

    async def revoke_credential(
        self, name: str, *, timeout: float | None = None, **options: Unpack[RevokeOptions]
    ) -> Credential:
        return await self._run(calls.revoke_credential(name, options), timeout)

    async def get_rotation(
        self, name: str, kind: Kind, *, unused_for: timedelta | None = None, timeout: float | None = None
    ) -> Rotation:
        return await self._run(calls.get_rotation(name, Kind(kind), unused_for), timeout)

    async def swap_credentials(
        self, name: str, kind: Kind, *, etag: str = "", request_id: str = "", timeout: float | None = None
    ) -> SwapCredentialsResponse:
        return await self._run(calls.swap_credentials(name, Kind(kind), etag, request_id), timeout)

    async def summarize_credentials(
        self,
        parent: str,
        *,
        due_within: timedelta | None = None,
        used_within: timedelta | None = None,
        timeout: float | None = None,
    ) -> SummarizeCredentialsResponse:
        return await self._run(calls.summarize_credentials(parent, due_within, used_within), timeout)

    async def list_credentials(
        self,
        parent: str,
        *,
        due_within: timedelta | None = None,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[Credential]:
        """All of them, fetched page by page as they are asked for. `timeout` is a page's."""
        token = ""
        while True:
            page = await self._run(calls.list_credentials(parent, due_within, page_size, token), timeout)
            for credential in page.credentials:
                yield credential
            token = page.next_page_token
            if not token:
                return

    async def _run(self, call: Call[R], timeout: float | None) -> R:
        seconds = self._timeout if timeout is None else timeout
        started = self._start(call.method, call.request, seconds)
        try:
            answer = await started
        except grpc.RpcError as error:
            raise failure_of(error) from None
        except asyncio.CancelledError:
            if self._closed and not _is_cancelled():
                raise closed() from None
            raise
        return call.read(answer)

    async def _in_batch(self, batcher: Batcher, call: Call[Verdict], timeout: float) -> Verdict:
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        batcher.add(call.request, timeout, verdict)
        try:
            async with asyncio.timeout(timeout):
                return await verdict
        except TimeoutError:
            raise too_late() from None

    def _start_batch(self, request: Message, timeout: float) -> Sent:
        sent: Sent = asyncio.ensure_future(self._start(BATCH, request, timeout))
        return sent

    def _start(self, method: Method, request: Message, timeout: float) -> Any:
        """The call, to be awaited."""
        if self._closed:
            raise closed()
        metadata = metadata_for(self._authorization)
        return self._callables[method.path](request, timeout=timeout, metadata=metadata)


def _is_cancelled() -> bool:
    """Whether it is the caller who is cancelled, and not the call because its channel was closed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
