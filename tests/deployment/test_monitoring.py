"""The alert rules, their runbook and the dashboard ask for what keysvc tells, and the alerts fire when they should."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.metrics import documented

from deployment.promql import Asked, asked
from keysvc.cli.metrics import new_registry
from keysvc.rpc.observation import _CODES, _RESULTS

DOCS = Path(__file__).parents[2] / "docs"
RULES = DOCS / "monitoring/alerts.yaml"
CASES = Path(__file__).with_name("alert_cases.yaml")
DASHBOARD = json.loads((DOCS / "monitoring/dashboard.json").read_text())

ALL_RULES = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL_RULES if "alert" in rule}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}

OF_PROMETHEUS = {"job", "instance"}
"""Labels that every series has."""
BUILT_IN = {"timeseries", "stat", "heatmap"}
"""Kinds of panels that Grafana brings along."""
KNOWN_VALUES = {
    "code": _CODES,
    "result": _RESULTS | {"hit", "miss"},
    "cache": {"merchants", "headers", "handles"},
}
"""Of labels whose values are a closed set."""

needs_promtool = pytest.mark.skipif(
    not os.environ.get("CI")
    and shutil.which("promtool", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") is None,
    reason="there is no promtool; tests/deployment/promtool.sh fetches it",
)


@cache
def series() -> dict[str, set[str]]:
    """The names that can be asked for, with their labels. That ours are those served is tested with the metrics."""
    found = {"up": set[str](), **{rule["record"]: set[str]() for rule in ALL_RULES if "record" in rule}}
    for name, (kind, labels) in documented().items():
        own = set() if labels == "none" else set(labels.split(", "))
        if kind == "histogram":
            found |= {f"{name}_bucket": own | {"le"}, f"{name}_count": own, f"{name}_sum": own}
        else:
            found[name] = own
    for family in new_registry().collect():
        found |= {sample.name: set(sample.labels) for sample in family.samples}
    return found


def expressions() -> dict[str, Asked]:
    """By where each stands."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in ALL_RULES}
    for panel in PANELS:
        for target in panel["targets"]:
            # As Grafana puts it in.
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            assert "$" not in expression, panel["title"]
            found[f"{panel['title']} {target['refId']}"] = expression
    return {where: asked(expression) for where, expression in found.items()}


def wrong(where: str, expression: Asked) -> Iterator[str]:
    """What it asks for that is never told."""
    known = series()
    labels = set(OF_PROMETHEUS)
    for selected in expression.selected:
        own = known.get(selected.name)
        if own is None:
            yield f"{where}: no metric {selected.name}"
            continue
        labels |= own
        yield from (f"{where}: {selected.name} has no {each}" for each in selected.values.keys() - own - OF_PROMETHEUS)
        for label, value in selected.values.items():
            named = set(value.split("|")) if label in KNOWN_VALUES else set()
            yield from (f"{where}: {label} is never {each}" for each in named - KNOWN_VALUES.get(label, set()))
    yield from (f"{where}: no metric of it has {label}" for label in expression.grouped - labels)


def test_what_alerts_and_dashboard_ask_for_is_told() -> None:
    assert [] == [each for where, expression in expressions().items() for each in wrong(where, expression)]


@pytest.mark.parametrize(
    ("expression", "trouble"),
    [
        ("keysvc_call_total", "no metric keysvc_call_total"),
        ("rate(keysvc_call_seconds[5m])", "no metric keysvc_call_seconds"),
        ('sum(rate(keysvc_epoch{rpc="x"}[5m]))', "keysvc_epoch has no rpc"),
        ('keysvc_calls_total{code=~"OK|UNAVAILBLE"}', "code is never UNAVAILBLE"),
        ("sum by (kind) (keysvc_epoch)", "no metric of it has kind"),
        ("1 + (keysvc_epoch == on (rpc) keysvc_serving)", "no metric of it has rpc"),
    ],
)
def test_what_is_never_told_is_found(expression: str, trouble: str) -> None:
    assert [f"here: {trouble}"] == list(wrong("here", asked(expression)))


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {
        re.sub(r"_bucket$", "", selected.name)
        for where, expression in expressions().items() if where not in ALERTS
        for selected in expression.selected
    }  # fmt: skip
    assert set() == documented().keys() - shown


def test_every_alert_says_how_bad_it_is_and_where_to_read_on() -> None:
    for name, alert in ALERTS.items():
        assert alert["labels"]["severity"] in ("page", "ticket"), name
        assert {"summary", "description", "runbook_url"} == alert["annotations"].keys()
        assert f"docs/runbook.md#{name.lower()}" == alert["annotations"]["runbook_url"]
    assert [] == [
        name for name, times in Counter(rule.get("alert") for rule in ALL_RULES).items() if name and times > 1
    ]


def test_the_runbook_has_one_section_for_each_alert_in_the_same_order() -> None:
    sections = re.split(r"^## ", (DOCS / "runbook.md").read_text(), flags=re.MULTILINE)[1:]
    assert list(ALERTS) == [section.partition("\n")[0] for section in sections]
    for section in sections:
        parts = re.findall(r"^\*\*([\w ]+)\.\*\*", section, re.MULTILINE)
        assert ["Means", "Callers see", "Look at", "Do", "Over"] == parts, section


@needs_promtool
def test_prometheus_takes_the_rules_and_the_alerts_fire_when_they_should() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(CASES))


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    cases = yaml.safe_load(CASES.read_text())["tests"]
    samples = [sample for case in cases for each in case["promql_expr_test"] for sample in each.get("exp_samples", [])]
    assert ALERTS.keys() == {re.findall(r'alertname="(\w+)"', sample["labels"])[0] for sample in samples}


def promtool(*arguments: str) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["promtool", *arguments], env=environment, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_dashboard_needs_nothing_but_a_data_source() -> None:
    assert DASHBOARD["schemaVersion"] >= 38  # Grafana 10's
    assert {"datasource": "datasource", "instance": "query"} == {name: each["type"] for name, each in VARIABLES.items()}
    assert BUILT_IN == {panel["type"] for panel in PANELS}
    assert "__inputs" not in DASHBOARD
    for source in sources(DASHBOARD):
        assert {"type": "prometheus", "uid": "${datasource}"} == source


def sources(part: Any) -> Iterator[Any]:
    """All that name a data source, wherever they stand."""
    if isinstance(part, dict):
        yield from (value for name, value in part.items() if name == "datasource")
        for value in part.values():
            yield from sources(value)
    elif isinstance(part, list):
        for value in part:
            yield from sources(value)


def test_no_panel_lies_on_another() -> None:
    panels = DASHBOARD["panels"]
    assert len(panels) == len({panel["id"] for panel in panels})
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    taken = [(panel["title"], panel["gridPos"]) for panel in panels]
    assert [] == [(one[0], other[0]) for one, other in combinations(taken, 2) if overlap(one[1], other[1])]


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or above)
