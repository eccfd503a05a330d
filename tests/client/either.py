"""Both clients with one face, so that a test holds for both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from keysvc.client import AsyncClient, Client


class Open(Protocol):
    """Makes a client, to be used in a `with`: arguments are those of Client."""

    def __call__(self, address: str, *args: Any, **options: Any) -> Any: ...


class Blocking:
    """AsyncClient, each call run to its end on a loop of its own."""

    def __init__(self, address: str, *args: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()

        async def make() -> AsyncClient:
            return AsyncClient(address, *args, **options)

        try:
            self._client = self._runner.run(make())
        except BaseException:
            self._runner.close()
            raise

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            return self._runner.run(_finished(getattr(self._client, name)(*args, **options)))

        return call

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


async def _finished(answer: Any) -> Any:
    if inspect.isasyncgen(answer):
        return [item async for item in answer]
    return await answer


EITHER: tuple[Open, ...] = (Client, Blocking)
