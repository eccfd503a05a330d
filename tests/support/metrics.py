"""What a running keysvc tells Prometheus, and what docs/operations.md says that it tells."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
_ROW = r"^\| `(keysvc_\w+)` \| (\w+) \| ([\w, ]+) \|"
ANY_PORT = {"KEYSVC_METRICS_LISTEN": "127.0.0.1:0"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def address_in(log: Path) -> tuple[str, int]:
    """Where the process that wrote this log last served metrics."""
    line = [line for line in log.read_text().splitlines() if "metrics.serving" in line][-1]
    [(host, port)] = re.findall(r'address(?:=|": ")([\d.]+):(\d+)', line)
    return host, int(port)


def page_of(log: Path) -> str:
    host, port = address_in(log)
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def documented() -> dict[str, tuple[str, str]]:
    """Type and labels of each metric, in the words of the document. That they are those served is tested."""
    return {name: (kind, labels) for name, kind, labels in re.findall(_ROW, OPERATIONS.read_text(), re.MULTILINE)}


class Metrics:
    """What one scrape told."""

    def __init__(self, log: Path) -> None:
        self.families = list(text_string_to_metric_families(page_of(log)))
        self._samples: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self._samples.get((name, frozenset(labels.items())), 0.0)

    def names(self) -> set[str]:
        return {name for name, _ in self._samples}
