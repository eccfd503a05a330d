"""Writing rows of plain values, a line each: CSV where the file's name ends in .csv, else JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

Row = Mapping[str, Any]
"""Values by column. An empty one is None or an empty text."""
_CSV = ".csv"


def writer(file: TextIO, path: Path | None, columns: Sequence[str]) -> Callable[[Row], None]:
    """What writes one row. A CSV has its header at once."""
    if path is None or path.suffix.lower() != _CSV:
        return lambda row: _write_json(file, row)
    rows = csv.DictWriter(file, columns, lineterminator="\n")
    rows.writeheader()
    return lambda row: _write_csv(rows, row)


def _write_json(file: TextIO, row: Row) -> None:
    file.write(json.dumps({name: value for name, value in row.items() if value not in (None, "")}) + "\n")


def _write_csv(rows: csv.DictWriter[str], row: Row) -> None:
    rows.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
