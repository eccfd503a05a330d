"""The bench in its shortest form: that it still runs, checks what it is answered, and says what it found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import cores, picture, report
from bench.__main__ import BEFORE
from bench.bare import SERVICE
from bench.commits import is_here
from bench.figures import Goal, Line, Loaded, Overlap, Paced, Row
from bench.load import Post, Question, Target, WrongAnswer, call_each, h2load, post, posted
from bench.paced import paced
from bench.servers import TESTS, bare_server


@pytest.fixture(scope="module")
def echo() -> Iterator[Target]:
    with bare_server(2, cores.choose()) as (address, pid):
        yield Target(address, (pid,), "Basic bm8gb25l", f"/{SERVICE}/Echo")


VERDICTS = {
    "A": 6, "B": 2, "C": 2, "D": 8 if is_here(BEFORE) else 0, "E": 0, "G": 6, "H": 2, "I": 2, "J": 1, "K": 5, "L": 0,
}  # fmt: skip
"""How many figures of a section are held against a goal."""
_WORST_OF = re.compile(r"\(the worst of (\d+)\)$")
_LONG = [pytest.param(section, marks=pytest.mark.long) for section in "ACEJK"]
SECTIONS = list(VERDICTS) if os.environ.get("KEYSVC_SOAK") == "1" else ["G", *_LONG]


@pytest.mark.parametrize("section", SECTIONS)
def test_the_shortest_bench_prints_every_figure_with_its_verdict(tmp_path: Path, section: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", section],
        env={**os.environ, "PYTHONPATH": str(TESTS), "TMPDIR": str(tmp_path)},
        check=True, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    lines = [line.split("\t") for line in run.stdout.splitlines() if "\t" in line]
    goals = [line for line in lines if line[0] == "goal"]
    figures = [line for line in lines if line[0] != "goal"]
    assert {section} == {line[0] for line in figures} or not VERDICTS[section]
    assert {section} >= {goal[1] for goal in goals}
    assert VERDICTS[section] == sum(int(found[1]) if (found := _WORST_OF.search(goal[2])) else 1 for goal in goals)
    assert {"met", "not met"} >= {goal[-1] for goal in goals}
    if section == "E":
        assert 7 == len([line for line in figures if 0 <= float(line[-1]) <= 1])
    assert [] == [line for line in figures if int(line[2].replace(",", "")) < 1]
    assert "Kernel: " in run.stdout
    assert [] == list(tmp_path.iterdir()), "the bench leaves its state behind"


def test_answers_of_the_right_length_are_counted(echo: Target) -> None:
    begin = time.perf_counter()
    burst = h2load(echo, Question(b"ask", b"ask"), in_flight=4, seconds=0.3)
    elapsed = time.perf_counter() - begin
    assert burst.calls / elapsed <= burst.calls_per_second <= burst.calls / 0.29
    assert 0 < burst.cpu_per_call < elapsed / burst.calls


def test_with_one_call_in_flight_its_time_is_what_the_rate_leaves_for_it(echo: Target) -> None:
    burst = h2load(echo, Question(b"ask", b"ask"), in_flight=1, seconds=0.3)
    assert burst.times is not None
    assert 0 < burst.times.p50 <= burst.times.p99
    # Half of the calls took the p50 or longer.
    assert burst.times.p50 / 2 < 1 / burst.calls_per_second


def test_a_number_of_calls_is_made_however_long_it_takes(echo: Target) -> None:
    assert 12 == post(posted(echo, Question(b"ask", b"ask"), in_flight=4), seconds=0, calls=12).calls


def test_another_answer_than_the_right_one_stops_the_bench(echo: Target) -> None:
    with pytest.raises(WrongAnswer):
        h2load(echo, Question(b"ask", b"an answer"), in_flight=4, seconds=0.1)
    with pytest.raises(WrongAnswer):
        call_each(echo, [Question(b"ask", b"ask"), Question(b"ask", b"aks")], in_flight=2)


def test_refusals_are_no_answers_though_their_http_status_is_200(echo: Target) -> None:
    nowhere = Target(echo.address, echo.pids, echo.authorization, f"/{SERVICE}/Nothing")
    with pytest.raises(WrongAnswer):
        h2load(nowhere, Question(b"ask", b"ask"), in_flight=4, seconds=0.1)


class Slow(BaseHTTPRequestHandler):
    """Answers after 20 ms, one call at a time."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(0.02)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def slow() -> Iterator[Post]:
    with HTTPServer(("127.0.0.1", 0), Slow) as server, ThreadPoolExecutor(1) as threads:
        threads.submit(server.serve_forever)
        yield Post(f"http://127.0.0.1:{server.server_port}/", (os.getpid(),), (), b"ask", 2, connections=1)
        server.shutdown()


def test_paced_calls_come_at_their_rate(echo: Target) -> None:
    burst = paced(posted(echo, Question(b"ask", b"ask"), in_flight=8), 200, 0.5, seed=1)
    assert 100 == burst.calls
    assert 140 < burst.calls_per_second < 260  # their gaps are random
    assert burst.times is not None
    assert burst.times.p50 < 0.005


def test_a_paced_call_that_waits_for_a_connection_counts_its_wait(slow: Post) -> None:
    times = [paced(slow, rate, calls / rate, seed=1).times for rate, calls in ((4, 3), (1_000, 10))]
    assert times[0] is not None
    assert times[1] is not None
    assert times[0].p50 >= 0.02
    assert times[1].p99 > 4 * times[0].p50, "the last of ten has waited for nine"


def test_paced_calls_that_are_not_answered_rightly_stop_the_bench(echo: Target, slow: Post) -> None:
    question = Question(b"ask", b"an answer")
    for wrong in (posted(echo, question, 1), posted(replace(echo, method="/none"), question, 1)):
        with pytest.raises(WrongAnswer):
            paced(wrong, 100, 0.05, seed=1)
    with pytest.raises(WrongAnswer):
        paced(replace(slow, answer_bytes=3), 100, 0.05, seed=1)


def test_a_missed_goal_is_told_by_the_median_of_the_ratios() -> None:
    row = Row("A", "calls", 30, [1.0, 2.0, 3.0], "calls/s", [0.7, 0.74, 0.9], "echo's", Goal(0.75, at_least=True))
    line, goal = report.plain([row], {})
    assert ["A", "calls", "30", "2 calls/s", "1..3", "0.74 (0.70..0.90) of echo's", "at least 0.75", "not met"] == (
        line.split("\t")
    )
    assert ["goal", "A", "calls", "at least 0.75 of echo's", "0.74", "not met"] == goal.split("\t")
    assert "| at least 0.75 | not met |" in report.markdown([row], {"Kernel": "K"}, "")


def test_a_goal_for_what_is_compared_with_nothing_is_held_against_the_median_of_the_values() -> None:
    goal = Goal(20_000, at_least=False, unit="µs")
    rows: list[Line] = [
        Row("I", "a revoke", 30, [1.0, median, 90_000.0], "µs", goal=goal) for median in (19_999.0, 20_001.0)
    ]
    found = [line.split("\t")[-2:] for line in report.plain(rows, {})[:2]]
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


def _loaded(server: str, items: int, rate: float, found: float) -> Loaded:
    """As the headline has it, with one goal for its ratio to OpenBao's."""
    goals = {"OpenBao": Goal(1.5, at_least=True)}
    values = [100.0, 200.0, 9_000.0]
    return Loaded("A", server, items, 64, 30, [rate], values, values, values, values, {"OpenBao": [found]}, goals)


def test_the_headline_tells_what_a_server_did_under_a_load_and_beside_the_others() -> None:
    cells = report.plain([_loaded("keysvc", 100, 5_000.0, 1.25)], {})[0].split("\t")
    assert ["A", "keysvc", "30", "64", "100", "5,000 (5,000..5,000)", "0.2", "0.2", "200.0", "200"] == cells[:10]
    assert ["1.25 (1.25..1.25)", "", ""] == cells[10:]


def test_of_figures_with_the_same_goal_the_worst_is_told_first_on_the_page() -> None:
    paced_line = Paced(
        "A", "keysvc", "half", 9, [7.0], [1.0], [2.0], {"OpenBao": [0.4]}, {"OpenBao": Goal(0.5, at_least=False)}
    )
    lines: list[Line] = [_loaded("keysvc", 100, 1.0, 1.6), _loaded("keysvc", 1, 1.0, 1.4), paced_line]
    page = report.markdown(lines, {"Kernel": "K"}, "").splitlines()
    assert [
        "| A | keysvc: VerifyHmac, 64 in flight (the worst of 2) | at least 1.5 of OpenBao's | 1.40 | not met |",
        "| A | keysvc: p99 at half | at most 0.5 of OpenBao's | 0.40 | met |",
    ] == page[6:8]


def test_the_picture_has_a_dot_for_each_server_and_load_in_both_of_its_panels() -> None:
    lines = [_loaded(server, items, 100.0, 1.0) for server in ("keysvc", "OpenBao") for items in (1, 1_000)]
    root = ElementTree.fromstring(picture.drawn(lines))
    tag = "{http://www.w3.org/2000/svg}"
    legend = 4
    assert legend + 2 * len(lines) == len(root.findall(f"{tag}circle"))
    assert {"VerifyHmac, 64 in flight", "batch of 1,000, 64 in flight"} <= {
        text.text for text in root.iter(f"{tag}text")
    }
