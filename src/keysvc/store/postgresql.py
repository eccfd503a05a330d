"""PostgreSQL's connections: nobody waits for an answer without end, whatever becomes of the server or the way to it.

Three things end a wait. The server ends a statement, or a transaction that nobody goes on with, while it is well.
The kernel ends a connection whose packets are lost. And a deadline here ends what the two leave: a server that is
stopped takes packets in, and says nothing. A connection that passed it is closed, for its answer may still come.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, ClassVar, TypeVar

import psycopg
from psycopg.abc import PQGen, PQGenConn
from sqlalchemy import URL, Connection, Engine, create_engine, event

ANSWER_SECONDS = 1.2
"""For a statement, and for a new connection."""

_STATEMENT_SECONDS = 1.1
"""Less than the deadline here: what is only slow costs no connection."""
_LOCK_SECONDS = 1.0
_IDLE_SECONDS = 3.0
"""For a transaction between two statements: a replica that is stopped midway must not stop the others."""
_POOL_SECONDS = 1.0

_ON_THE_WAY = {
    "target_session_attrs": "read-write",  # a standby may be behind: what it says of the epoch is worth nothing
    "connect_timeout": "2",  # libpq's least
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "2",
    "tcp_user_timeout": "3000",
}

R = TypeVar("R")


class Silent(psycopg.OperationalError):
    """The server has not answered in time."""


class BoundedConnection(psycopg.Connection[Any]):
    """Closed by what takes too long."""

    connect_seconds: ClassVar[float] = ANSWER_SECONDS
    patience = ANSWER_SECONDS
    """Seconds for each answer; `give_time` changes it until the connection is handed back."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Any]:
        # psycopg's own limit is never less than two seconds. It asks here ten times a second whether there is news.
        until = monotonic() + cls.connect_seconds
        connecting = super()._connect_gen(conninfo)
        try:
            wanted = next(connecting)
            while True:
                ready = yield wanted
                if monotonic() >= until:
                    raise Silent("connecting took too long")
                wanted = connecting.send(ready)
        except StopIteration as connected:
            return connected.value

    def wait(self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:
        seconds = self.patience if timeout is None else timeout
        until = monotonic() + seconds
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.OperationalError as error:
            if error.sqlstate is not None or monotonic() < until:
                raise
            self.close()
            raise Silent("no answer in time") from error


def postgresql_engine(url: URL, pool_size: int) -> Engine:
    """Does not connect yet. What the URL says of the connection holds, but not of the time for statements and locks."""
    options = [
        *([str(url.query["options"])] if "options" in url.query else []),
        f"-c lock_timeout={_milliseconds(_LOCK_SECONDS)}",
        f"-c statement_timeout={_milliseconds(_STATEMENT_SECONDS)}",
        f"-c idle_in_transaction_session_timeout={_milliseconds(_IDLE_SECONDS)}",
    ]
    arguments = {name: value for name, value in _ON_THE_WAY.items() if name not in url.query}
    engine = create_engine(
        url,
        pool_size=pool_size,
        pool_timeout=_POOL_SECONDS,
        hide_parameters=True,
        connect_args={**arguments, "options": " ".join(options)},
    )
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "checkout", _in_ordinary_time)
    return engine


def give_time(connection: Connection, seconds: float) -> None:
    """Lets the statements of this transaction take longer: they run beside the calls, and no caller waits."""
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {_milliseconds(seconds)}")
    driver: Any = connection.connection.dbapi_connection
    driver.patience = seconds + ANSWER_SECONDS


def _connect(_dialect: object, _record: object, arguments: list[Any], parameters: dict[str, Any]) -> Any:
    # One after another: the last of the servers named must have its turn in time.
    servers = str(parameters.get("hostaddr") or parameters.get("host") or "").count(",") + 1

    class ToOneOf(BoundedConnection):
        connect_seconds = ANSWER_SECONDS / servers

    return ToOneOf.connect(*arguments, **parameters)


def _in_ordinary_time(connection: Any, _record: object, _proxy: object) -> None:
    connection.patience = ANSWER_SECONDS


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
