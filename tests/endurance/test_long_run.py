"""An hour of mixed load on two workers: no call fails, every answer is right, and what they use does not grow.

`make soak` runs it for an hour, or SOAK_MINUTES, at SOAK_RATE steps a second. The cache of handles is smaller than the
set of keys, so keys are unwrapped all the time, each of which costs the token's module memory until it is refreshed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from support.postgres import Postgres
from support.production import Production
from support.program import Running, serving_anew

from endurance import long_load
from endurance.conftest import Sizes
from endurance.long_load import CALLERS, Load
from endurance.watched import Sample, sample, trend
from keysvc.service.maintenance import CHANGES_KEPT

WORKERS = 2
KEYS_KEPT = 16
LOOKS = 240
"""At the processes, in one run."""
WARM_UP = 0.25
"""The part of a run in which caches fill, and Python's and gRPC's own pools."""
MAY_GROW_MB = 6.0
"""Of all workers together. What the module keeps of the keys that are unwrapped in a minute is more."""
MOST_THREADS = 48
"""Of a worker: 16 for calls, which begin as they are needed, 16 of the token's sessions, gRPC's, and upkeep."""
MOST_FILES = 48
"""Of a worker: 20 connections to the database at most, those of callers, who connect anew all the time, and its own."""
_TABLES = ("merchant", "credential", "credential_key", "credential_use", "change", "request", "audit_event")


@dataclass(frozen=True)
class OnPostgres(Production):
    """With another database."""

    url: str

    @property
    def settings(self) -> dict[str, str]:
        return {**super().settings, "KEYSVC_DATABASE_URL": self.url}


@contextmanager
def service(production: Production, sizes: Sizes) -> Iterator[Running]:
    production.make_anew()
    settings = {
        **production.settings,
        "KEYSVC_HANDLE_CACHE": str(KEYS_KEPT),
        "KEYSVC_TOKEN_REFRESH": str(sizes.long_refresh),
        "KEYSVC_LOG_CALLS": "False",
    }
    with serving_anew(f"serve --workers {WORKERS}", settings, production.directory) as running:
        yield running


@pytest.mark.timeout(3 * 3600)
def test_a_long_run_fails_no_call_and_uses_no_more_at_its_end(
    postgres: Postgres, tmp_path: Path, sizes: Sizes, capsys: pytest.CaptureFixture[str]
) -> None:
    production = OnPostgres(tmp_path / "all", postgres.new_database())
    with service(production, sizes) as running:
        connect = long_load.connection(running.address, production.admin_credentials.read_text())
        with connect() as client:
            merchants = [long_load.merchant(client, f"m-{number}") for number in range(sizes.long_merchants)]
        with Load(connect, merchants, sizes.long_rate) as load:
            samples = []
            for each in looked_at(running, sizes.long_seconds):
                samples.append(each)
                if sizes.soak and crosses_minute(samples):
                    with capsys.disabled():
                        print(progress(each, sizes, load), flush=True)
        assert 0 == running.stop()
        events = logged(running)
    rows = counted(production.url)
    with capsys.disabled() if sizes.soak else nullcontext():
        print("\n".join(report(samples, sizes, load, events, rows)))
    assert [] == load.wrong
    # What a run that proves anything has met: every kind of call, and both workers' modules refreshed under load.
    assert 10 == len(load.steps)
    assert set(range(1, WORKERS + 1)) == {event["worker"] for event in events if event["event"] == "hsm.refreshed"}
    assert [] == [event for event in events if event["level"] in ("warning", "error")]
    assert {WORKERS} == {len(each.memory) for each in samples}
    assert max(max(each.threads) for each in samples) <= MOST_THREADS
    assert max(max(each.files) for each in samples) <= MOST_FILES
    if sizes.soak:
        assert trend(samples, warm_up(sizes), total_memory).growth <= MAY_GROW_MB
    # One row for each key that lives, and of what is kept for replicas no more than that.
    assert rows["credential_key"] <= 2 * len(merchants) + CALLERS * 2
    assert rows["change"] <= 2 * CHANGES_KEPT


def looked_at(running: Running, seconds: float) -> Iterator[Sample]:
    """A look now and then, until so much time has passed."""
    begun = time.monotonic()
    for number in range(1, LOOKS + 1):
        time.sleep(max(0.0, begun + seconds * number / LOOKS - time.monotonic()))
        yield sample(running.process.pid, time.monotonic() - begun)


def crosses_minute(samples: list[Sample]) -> bool:
    before = samples[-2].seconds if len(samples) > 1 else 0.0
    return int(samples[-1].seconds / 60) > int(before / 60)


def warm_up(sizes: Sizes) -> float:
    return sizes.long_seconds * WARM_UP


def total_memory(each: Sample) -> float:
    return sum(each.memory)


def total_files(each: Sample) -> float:
    return sum(each.files)


def total_threads(each: Sample) -> float:
    return sum(each.threads)


def progress(each: Sample, sizes: Sizes, load: Load) -> str:
    memory = " + ".join(f"{worker:.0f}" for worker in each.memory)
    return (
        f"{each.seconds / 60:4.0f} of {sizes.long_seconds / 60:.0f} min  {load.steps.total():7} steps"
        f"  {len(load.wrong)} wrong  {memory} MB  {sum(each.files)} files  {sum(each.threads)} threads"
    )


def report(
    samples: list[Sample], sizes: Sizes, load: Load, events: list[dict[str, object]], rows: dict[str, int]
) -> Iterator[str]:
    """Lines of a name and figures."""
    cpu = (samples[-1].cpu - samples[0].cpu) / (samples[-1].seconds - samples[0].seconds)
    refreshed = [event for event in events if event["event"] == "hsm.refreshed"]
    yield f"ran             {sizes.long_seconds / 60:.1f} minutes, {WORKERS} workers, {cpu:.2f} cores of CPU"
    yield f"steps           {load.steps.total()}, wrong or failed {len(load.wrong)}"
    yield from (f"  {kind.strip('_'):13} {times}" for kind, times in load.steps.most_common())
    yield f"keys made       {sum(int(str(event['keys'])) for event in refreshed)} until the last refresh"
    longest = max((float(str(event["seconds"])) for event in refreshed), default=0.0)
    yield f"refreshes       {len(refreshed)}, the longest {longest * 1000:.0f} ms"
    for name, of in (("memory, MB", total_memory), ("files", total_files), ("threads", total_threads)):
        seen = trend(samples, warm_up(sizes), of)
        yield f"{name:15} {seen.early:.1f} early, {seen.late:.1f} late, {max(map(of, samples)):.1f} at most"
    yield f"rows            {', '.join(f'{table} {count}' for table, count in rows.items())}"


def logged(running: Running) -> list[dict[str, object]]:
    lines = running.output.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def counted(url: str) -> dict[str, int]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.connect() as connection:
            return {
                table: int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()) for table in _TABLES
            }
    finally:
        engine.dispose()
