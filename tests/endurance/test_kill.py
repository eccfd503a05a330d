"""kill -9 in the middle of changes of credentials, tokens and passwords: what was answered holds, the tables agree,
and the audit record is whole and tells of each change once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.program import run
from support.server import DevServer

from endurance.changer import Changer
from endurance.conftest import Sizes
from endurance.logs import trouble_in
from endurance.other_changers import Changes, PasswordChanger, TokenChanger
from endurance.tables import disagreements, read

CLIENTS = 4
SEED = 17
EARLIEST, LATEST = 0.05, 0.5
"""Seconds from the first call to the kill."""


@pytest.mark.timeout(1800)
def test_nothing_is_lost_when_the_server_is_killed(tmp_path: Path, sizes: Sizes) -> None:
    rng = random.Random(SEED)
    server = DevServer(tmp_path / "home").start()
    with server.client() as client:
        names = [client.active_merchant(f"killed-{number}") for number in range(CLIENTS)]
        password_changer = PasswordChanger(client, "killed-principal")
    changers: list[Changes] = [
        *(Changer(name, random.Random(f"{SEED}-{name}")) for name in names),
        TokenChanger(names[0], random.Random(SEED)),
        password_changer,
    ]
    answered, fates = 0, Counter[str]()
    try:
        for _ in range(sizes.kills):
            answered += _kill_in_the_middle(server, changers, rng.uniform(EARLIEST, LATEST))
            server.start()
            with server.client() as client:
                fates.update([changer.settle(client) for changer in changers])
                for changer in changers:
                    changer.compare(client)
            assert [] == disagreements(read(server.database))
    finally:
        exit_code = server.stop()
    assert 0 == exit_code
    assert [] == trouble_in(server)
    verified = run("audit", "verify", "--dev", settings={"KEYSVC_HOME": str(server.home)})
    assert 0 == verified.returncode, verified.stderr
    print(f"{answered} calls answered; of those in flight: {dict(fates)}")
    assert answered > sizes.kills * CLIENTS
    assert fates["not done"] > 0
    assert fates["done"] > 0 or not sizes.soak, "no kill came between a commit and its answer"


def _kill_in_the_middle(server: DevServer, changers: list[Changes], seconds: float) -> int:
    """Returns how many calls were answered before."""
    killed = threading.Event()
    with server.client() as client, ThreadPoolExecutor(len(changers)) as pool:
        runs = [pool.submit(changer.run, client, killed) for changer in changers]
        time.sleep(seconds)
        killed.set()
        server.kill()
        return sum(run.result() for run in runs)
