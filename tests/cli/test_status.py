"""`keysvc status`: the fleet as lines for a program and as tables for a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.asking import SLOTS, ask, slot_of
from support.server import Client, DevServer
from support.waiting import until

from cli.walking import PRIMARY, SECONDARY, created, invoke, renewed, settings_of
from keysvc.cli import fleet, remote

DAY = 86400
_COLUMNS = ["active", "inactive", "empty", "due", "overdue", "retiring_keys", "retiring_keys_used"]

Slots = dict[str, dict[str, str]]


def status(server: DevServer, *arguments: str) -> list[list[str]]:
    """The fields of its lines."""
    ended = invoke(settings_of(server), "status", *arguments)
    assert 0 == ended.exit_code, ended.exception
    return [line.split("\t") for line in ended.output.splitlines()]


def by_slot(lines: list[list[str]]) -> Slots:
    assert [["slot", "id", *_COLUMNS]] == lines[1:2]
    return {line[1]: dict(zip(_COLUMNS, line[2:], strict=True)) for line in lines[2:] if line[0] == "slot"}


def due(lines: list[list[str]]) -> list[tuple[str, str]]:
    return [(line[0], line[1]) for line in lines if line[0] in ("due", "overdue")]


def schedule(client: Client, merchant: str, slot: str, seconds: float) -> None:
    rotate_before = {"seconds": int(time.time() + seconds)}
    ask(client, "ScheduleRotation", name=slot_of(merchant, slot), rotate_before=rotate_before)


@pytest.fixture
def rotating(client: Client, merchant: str) -> Iterator[str]:
    """A merchant with an overdue primary that has a retiring key in use, and a secondary that is due in ten days."""
    old = created(client, merchant)
    renewed(client, merchant, 3600)
    assert "VALID" == old.use()
    created(client, merchant, SECONDARY)
    schedule(client, merchant, PRIMARY, -DAY)
    schedule(client, merchant, SECONDARY, 10 * DAY)
    yield merchant
    for slot in (PRIMARY, SECONDARY):
        ask(client, "RevokeCredential", name=slot_of(merchant, slot))


def test_one_merchant_by_slot_and_what_is_due_first(server: DevServer, client: Client, rotating: str) -> None:
    ask(client, "CreateCredential", name=slot_of(rotating, "api-password"))
    ask(client, "RevokeCredential", name=slot_of(rotating, "api-password"))
    until(
        lambda: "1" == by_slot(status(server, "--merchant", rotating))[PRIMARY]["retiring_keys_used"]
    )  # a second late
    lines = status(server, "--merchant", rotating.removeprefix("merchants/"))
    assert ["merchants", "1"] == lines[0]
    slots = by_slot(lines)
    assert list(SLOTS) == list(slots)
    nothing = dict.fromkeys(_COLUMNS, "0")
    used = {"active": "1", "overdue": "1", "retiring_keys": "1", "retiring_keys_used": "1"}
    assert {**nothing, **used} == slots[PRIMARY]
    assert {**nothing, "active": "1", "due": "1"} == slots[SECONDARY]
    assert {**nothing, "inactive": "1"} == slots["api-password"]
    assert {**nothing, "empty": "1"} == slots["encryption-password"]
    assert [("overdue", slot_of(rotating, PRIMARY)), ("due", slot_of(rotating, SECONDARY))] == due(lines)


def test_a_date_is_told_in_utc(server: DevServer, rotating: str) -> None:
    [first, _] = [line for line in status(server, "--merchant", rotating) if line[0] in ("due", "overdue")]
    date = datetime.fromisoformat(first[2])
    assert timedelta() == date.utcoffset()
    assert timedelta(hours=23) < datetime.now(UTC) - date < timedelta(hours=25)


def test_what_counts_as_due_or_used_and_how_many_are_listed_can_be_said(server: DevServer, rotating: str) -> None:
    soon = status(server, "--merchant", rotating, "--due-days", "9.5", "--used-hours", "0")
    assert [("overdue", slot_of(rotating, PRIMARY))] == due(soon)
    assert "0" == by_slot(soon)[SECONDARY]["due"]
    assert "0" == by_slot(soon)[PRIMARY]["retiring_keys_used"]
    assert [("overdue", slot_of(rotating, PRIMARY))] == due(status(server, "--merchant", rotating, "--most", "1"))
    assert [] == due(status(server, "--merchant", rotating, "--most", "0"))


def test_all_merchants_together(server: DevServer, rotating: str) -> None:
    lines = status(server, "--most", "1000")
    assert int(lines[0][1]) >= 1
    [*states] = [sum(int(row[column]) for column in ("active", "inactive", "empty")) for row in by_slot(lines).values()]
    assert [int(lines[0][1])] * len(SLOTS) == states
    assert {("overdue", slot_of(rotating, PRIMARY)), ("due", slot_of(rotating, SECONDARY))} <= set(due(lines))


@pytest.mark.parametrize("option", ["--due-days", "--used-hours"])
@pytest.mark.parametrize("value", ["nan", "-1", "1e400", "much"])
def test_an_option_that_is_no_length_of_time_is_refused(server: DevServer, option: str, value: str) -> None:
    ended = invoke(settings_of(server), "status", option, value)
    assert 2 == ended.exit_code
    assert option in ended.output


def test_a_person_sees_tables(
    server: DevServer,
    rotating: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**settings_of(server), "COLUMNS": "160"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "is_watched", lambda: True)
    fleet.status(merchant=rotating, due_days=30, used_hours=24, most=20)
    told = capsys.readouterr().out
    assert "1 merchant\n" in told.replace(" " * 2, "").replace(" \n", "\n")
    assert "retiring keys used" in told
    assert "Due first" in told
    assert f"{rotating}/credentials/{PRIMARY}" in told


def test_it_shows_only_what_the_caller_may_see(
    server: DevServer, client: Client, rotating: str, tmp_path: Path
) -> None:
    name = f"psp-of-{rotating.removeprefix('merchants/')}"
    made = ask(client, "CreatePrincipal", principal_id=name, principal={"kind": "PSP"})
    file = tmp_path / "credentials"
    file.write_text(f"{name}:{made.password}")
    file.chmod(0o600)
    ended = invoke({**settings_of(server), "KEYSVC_CREDENTIALS_FILE": str(file)}, "status")
    assert ended.output.startswith("merchants\t0\n")
    assert "due\tmerchants" not in ended.output
