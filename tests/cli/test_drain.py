"""SIGTERM: health says NOT_SERVING, no new calls, those in flight finish, exit code 0, and nothing is lost."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
from support import healthcheck
from support.asking import ask, slot_of, verify_mac
from support.outside import key_of, mac_of
from support.server import Client, DevServer
from support.waiting import code_of, until


@contextmanager
def held_database(server: DevServer) -> Iterator[sqlite3.Connection]:
    """Holds the database's write lock, so that a change stays in flight until it is let go."""
    with closing(sqlite3.connect(server.database, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def wait_until_not_serving(channel: grpc.Channel, meanwhile: int) -> None:
    """Sends SIGTERM to the process `meanwhile`, and returns when a watcher was told."""
    watch = healthcheck.watch(channel)
    assert healthcheck.SERVING == next(watch).status
    os.kill(meanwhile, signal.SIGTERM)
    assert healthcheck.NOT_SERVING == next(watch).status
    watch.cancel()


def wait_until_nobody_listens(server: DevServer) -> None:
    """Health says so first, so that callers may go elsewhere before they are refused."""
    host, _, port = server.address.rpartition(":")

    def refuses() -> bool:
        with socket.socket() as caller:
            caller.settimeout(0.05)  # for a moment nothing is answered
            return caller.connect_ex((host, int(port))) == errno.ECONNREFUSED

    until(refuses)


def in_flight(client: Client, threads: ThreadPoolExecutor, name: str) -> Future[Any]:
    """A change that waits for the database."""
    waiting = threads.submit(ask, client, "CreateCredential", name=name)
    time.sleep(0.1)
    assert not waiting.done()
    return waiting


def test_a_call_in_flight_finishes_and_no_new_one_begins(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    pid = server.pid
    with server.client() as client, ThreadPoolExecutor(2) as threads:
        merchant = client.active_merchant("m")
        name, used = slot_of(merchant, "primary-hmac-key"), slot_of(merchant, "secondary-hmac-key")
        ask(client, "CreateCredential", name=used)
        ask(client, "GenerateHmac", name=used)
        last_used = ask(client, "GetCredential", name=used).last_used_time
        with held_database(server) as lock:
            waiting = in_flight(client, threads, name)
            wait_until_not_serving(client.channel, pid)
            wait_until_nobody_listens(server)
            late = threads.submit(code_of, lambda: ask(client, "GetMerchant", name=merchant))
            assert not waiting.done()
            lock.execute("ROLLBACK")
        made = waiting.result(timeout=20)
    assert grpc.StatusCode.UNAVAILABLE is late.result(timeout=20)
    assert 0 == server.stop()
    server.start()
    with server.client() as client:
        mac = mac_of(key_of(made.secret.value, "HEX"), b"m")
        assert last_used == ask(client, "GetCredential", name=used).last_used_time
        assert "VALID" == verify_mac(client, merchant, b"m", mac)
    assert 0 == server.stop()


def test_an_interrupt_from_the_keyboard_ends_it_as_well(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    assert 0 == server._end(signal.SIGINT)
