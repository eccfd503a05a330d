"""The bench in its shortest form: that it still runs, checks what it is answered, and says what it found."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cores, report
from bench.__main__ import BEFORE
from bench.bare import SERVICE
from bench.commits import is_here
from bench.figures import Goal, Line, Loaded, Overlap, Paced, Row
from bench.load import Question, Target, WrongAnswer, call_each, h2load
from bench.servers import TESTS, bare_server


@pytest.fixture(scope="module")
def echo() -> Iterator[Target]:
    with bare_server(2, cores.choose()) as (address, pid):
        yield Target(address, (pid,), "Basic bm8gb25l", f"/{SERVICE}/Echo")


VERDICTS = {"A": 2, "B": 2, "C": 2, "D": 8 if is_here(BEFORE) else 0, "E": 0, "F": 1, "G": 6, "H": 2, "I": 2, "J": 1}
"""How many figures of a section are held against a goal."""
_LONG = [pytest.param(section, marks=pytest.mark.long) for section in "CEFJ"]
SECTIONS = list(VERDICTS) if os.environ.get("KEYSVC_SOAK") == "1" else ["A", *_LONG]


@pytest.mark.parametrize("section", SECTIONS)
def test_the_shortest_bench_prints_every_figure_with_its_verdict(tmp_path: Path, section: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", section],
        env={**os.environ, "PYTHONPATH": str(TESTS), "TMPDIR": str(tmp_path)},
        check=True, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    lines = [line.split("\t") for line in run.stdout.splitlines() if "\t" in line]
    assert {section} == {line[0] for line in lines} or not VERDICTS[section]
    if section == "E":
        assert 7 == len([line for line in lines if 0 <= float(line[-1]) <= 1])
    else:
        verdicts = [line[-1] for line in lines if line[-1]]
        assert VERDICTS[section] == len(verdicts)
        assert {"met", "not met"} >= set(verdicts)
    assert [] == [line for line in lines if int(line[2].replace(",", "")) < 1]
    assert "Kernel: " in run.stdout
    assert [] == list(tmp_path.iterdir()), "the bench leaves its state behind"


def test_answers_of_the_right_length_are_counted(echo: Target) -> None:
    begin = time.perf_counter()
    burst = h2load(echo, Question(b"ask", b"ask"), in_flight=4, seconds=0.3)
    elapsed = time.perf_counter() - begin
    assert burst.calls / elapsed <= burst.calls_per_second <= burst.calls / 0.29
    assert 0 < burst.cpu_per_call < elapsed / burst.calls


def test_another_answer_than_the_right_one_stops_the_bench(echo: Target) -> None:
    with pytest.raises(WrongAnswer):
        h2load(echo, Question(b"ask", b"an answer"), in_flight=4, seconds=0.1)
    with pytest.raises(WrongAnswer):
        call_each(echo, [Question(b"ask", b"ask"), Question(b"ask", b"aks")], in_flight=2)


def test_refusals_are_no_answers_though_their_http_status_is_200(echo: Target) -> None:
    nowhere = Target(echo.address, echo.pids, echo.authorization, f"/{SERVICE}/Nothing")
    with pytest.raises(WrongAnswer):
        h2load(nowhere, Question(b"ask", b"ask"), in_flight=4, seconds=0.1)


def test_a_missed_goal_is_told_by_the_median_of_the_ratios() -> None:
    row = Row("A", "calls", 30, [1.0, 2.0, 3.0], "calls/s", [0.7, 0.74, 0.9], "theirs", Goal(0.75, at_least=True))
    assert ["A", "calls", "30", "2 calls/s", "1..3", "0.74 (0.70..0.90) of theirs", "at least 0.75", "not met"] == (
        report.plain([row], {})[0].split("\t")
    )
    assert "| at least 0.75 | not met |" in report.markdown([row], {"Kernel": "K"}, "")


def test_a_goal_for_what_is_compared_with_nothing_is_held_against_the_median_of_the_values() -> None:
    goal = Goal(20_000, at_least=False, unit="µs")
    rows: list[Line] = [
        Row("I", "a revoke", 30, [1.0, median, 90_000.0], "µs", goal=goal) for median in (19_999.0, 20_001.0)
    ]
    found = [line.split("\t")[-2:] for line in report.plain(rows, {})]
    assert [["at most 20,000 µs", "met"], ["at most 20,000 µs", "not met"]] == found


def test_of_two_equal_times_each_is_slower_by_half() -> None:
    chances = [
        Overlap("E", "", "", firsts, [1.0, 2.0, 3.0]).slower for firsts in ([4.0], [0.5], [1.0, 2.0, 3.0], [2.5])
    ]
    assert [1.0, 0.0, 0.5, 2 / 3] == chances


def test_the_page_has_a_table_of_each_sort() -> None:
    row = Row("D", "calls", 30, [1.0], "calls/s")
    times = Overlap("E", "an unknown", "another's", [1.0, 2.0], [3.0, 4.0])
    page = report.markdown([row, times], {"Kernel": "K"}, "").splitlines()
    assert "| calls | 30 | 1 calls/s | 1..1 |   |   |   |" in page
    assert "| an unknown | 2 | 2 µs (1..2) | another's | 4 µs (3..4) | 0.00 |" in page
    assert 2 == sum(line.startswith("| --- |") for line in page)
