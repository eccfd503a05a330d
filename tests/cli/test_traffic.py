"""How a pair's keys and their use are shown, from messages alone."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from keysvc.cli import traffic
from keysvc.client import Rotation

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEY = "merchants/m/credentials/primary-hmac-key"


def rotation(at: datetime = NOW, **key: Any) -> Rotation:
    """Of one key, made an hour ago."""
    fields: dict[str, Any] = {"credential": KEY, "version": 1, "create_time": NOW - timedelta(hours=1), **key}
    return Rotation(name="merchants/m", stage="MOVING", time=at, keys=[fields])


def cells(seen: Rotation, before: Rotation | None = None) -> dict[str, str]:
    return dict(zip(traffic._HEADINGS, traffic._cells(seen.keys[0], seen, before), strict=True))


@pytest.mark.parametrize(
    ("key", "role"),
    [
        ({"signs": True}, "signs, new"),
        ({"signs": True, "old": True}, "signs, old"),
        ({"old": True}, "old"),
        ({}, "new"),
        ({"old": True, "expire_time": NOW}, "retiring until 2026-05-01T12:00:00+00:00"),
    ],
)
def test_a_key_is_told_by_what_it_does(key: dict[str, Any], role: str) -> None:
    assert role == cells(rotation(**key))[""]


@pytest.mark.parametrize(
    ("ago", "told"),
    [
        (timedelta(0), "0 s ago"),
        (timedelta(seconds=59.9), "59 s ago"),
        (timedelta(seconds=60), "1 min ago"),
        (timedelta(hours=1), "1 h ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(days=400), "400 d ago"),
        (timedelta(seconds=-1), "0 s ago"),  # by the clock of another replica
    ],
)
def test_the_last_use_is_told_in_one_unit(ago: timedelta, told: str) -> None:
    assert told == cells(rotation(calls={"total": 1, "last_used_time": NOW - ago}))["last used"]


def test_a_key_that_was_never_used() -> None:
    seen = cells(rotation())
    assert ("never", "0", "") == (seen["last used"], seen["ever"], seen["callers"])


def test_calls_are_told_with_their_thousands() -> None:
    seen = cells(rotation(calls={"last_hour": 1234, "last_day": 12345, "total": 1234567}))
    assert ("1,234", "12,345", "1,234,567") == (seen["last hour"], seen["last day"], seen["ever"])


def test_three_callers_are_named_and_the_rest_counted() -> None:
    callers = [{"principal": name} for name in ("principals/a", "", "principals/c", "principals/d", "principals/e")]
    assert "a, (not known), c and 2 more" == cells(rotation(callers=callers))["callers"]


def test_calls_a_second_are_those_since_the_last_look() -> None:
    before, later = rotation(calls={"total": 100}), NOW + timedelta(seconds=2)
    assert "" == cells(rotation(calls={"total": 100}))["calls/s"]
    assert "2.5" == cells(rotation(later, calls={"total": 105}), before)["calls/s"]
    assert "" == cells(rotation(calls={"total": 105}), before)["calls/s"]  # no time has passed


def test_a_key_that_was_swapped_is_known_again() -> None:
    """By when it was made: its slot and version are others now."""
    before = rotation(calls={"total": 100})
    moved = KEY.replace("primary", "secondary")
    after = rotation(NOW + timedelta(seconds=1), credential=moved, version=7, calls={"total": 110})
    assert "10.0" == cells(after, before)["calls/s"]
    other = rotation(NOW + timedelta(seconds=1), create_time=NOW, calls={"total": 110})
    assert "" == cells(other, before)["calls/s"]


def test_lines_are_told_once_and_again_when_they_change(capsys: pytest.CaptureFixture[str]) -> None:
    with traffic.screen(watched=False) as screen:
        for total in (1, 1, 1500):
            screen.show(rotation(calls={"total": total}), "waiting")
    assert [
        "primary-hmac-key version 1 (new): 1 call",
        "waiting",
        "primary-hmac-key version 1 (new): 1,500 calls",
    ] == capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("key", "colour"), [({}, "32"), ({"old": True, "can_be_revoked": True}, "33"), ({"old": True}, "31")]
)
def test_a_row_is_green_for_a_new_key_yellow_for_one_that_may_end_and_red_for_one_in_use(
    key: dict[str, Any], colour: str
) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160, color_system="standard")
    with Live(console=console, auto_refresh=False) as live:
        traffic._Table(live).show(rotation(**key), "note")
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert f"\x1b[{colour}mprimary-hmac-key" in shown
    assert "merchants/m  MOVING" in shown
