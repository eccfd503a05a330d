"""The headline's table drawn, as SVG: a dot for each server's median, a line from its least to its most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.figures import Loaded, Series
from bench.sides import AUDITED, ECHO, IN_MEMORY, KEYSVC

_COLOURS = {KEYSVC: "#0072b2", AUDITED: "#d55e00", IN_MEMORY: "#e69f00", ECHO: "#767676"}
"""Told apart by the colour-blind too (Okabe and Ito)."""
_WIDTH, _LEFT, _TOP, _PANEL, _GAP = 1040, 200, 96, 370, 66
_LANE, _ROW, _BATCH_GAP = 10, 50, 12
_ROOM = 0.1
"""Of a power of ten, beyond the highest figure."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure of all lines, on a scale whose steps are tenfold."""

    title: str
    x: float
    figures: Callable[[Loaded], Series]
    lowest: int
    """A power of ten."""
    highest: float

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.lowest) / (self.highest - self.lowest)
        return self.x + share * _PANEL


def drawn(lines: Sequence[Loaded]) -> str:
    """On white, whatever page it stands in. Text is text, so that it can be searched and read aloud."""
    shown = [line for line in lines if line.server in _COLOURS]
    panels = [
        _panel("verifications a second", _LEFT, shown, lambda line: line.rates),
        _panel("p99 of a call, milliseconds", _LEFT + _PANEL + _GAP, shown, lambda line: _thousandths(line.p99)),
    ]
    rows = sorted({(line.items, line.in_flight) for line in shown})
    heights = {row: _TOP + place * _ROW + _batches_before(rows, row) * _BATCH_GAP for place, row in enumerate(rows)}
    bottom = max(heights.values()) + _ROW
    parts = [f'<rect width="{_WIDTH}" height="{bottom + 30}" rx="6" fill="#fff"/>', *_legend()]
    for panel in panels:
        parts += _scale(panel, bottom)
    for (items, in_flight), y in heights.items():
        label = "VerifyHmac" if items == 1 else f"batch of {items:,}"
        parts.append(_text(_LEFT - 14, y + _ROW / 2 + 4, f"{label}, {in_flight} in flight", "end"))
        for line in shown:
            if (line.items, line.in_flight) == (items, in_flight):
                parts += [_mark(panel, line, y) for panel in panels]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 30}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="12" fill="#222">\n'
        f"<title>keysvc beside OpenBao and a bare gRPC server</title>\n{body}\n</svg>\n"
    )


def _panel(title: str, x: float, lines: Iterable[Loaded], figures: Callable[[Loaded], Series]) -> Panel:
    every = [value for line in lines for value in figures(line)]
    lowest = math.floor(math.log10(min(every)))
    return Panel(title, x, figures, lowest, max(lowest + 1, math.log10(max(every)) + _ROOM))


def _legend() -> Iterator[str]:
    x = _LEFT
    for server, colour in _COLOURS.items():
        yield f'<circle cx="{x}" cy="26" r="5" fill="{colour}"/>'
        yield _text(x + 12, 30, server, "start")
        x += 170


def _scale(panel: Panel, bottom: float) -> Iterator[str]:
    yield _text(panel.x, 62, panel.title, "start", 'font-weight="600"')
    for power in range(panel.lowest, math.floor(panel.highest) + 1):
        x = panel.at(10**power)
        yield f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="#ddd"/>'
        yield _text(x, _TOP - 14, f"{10**power:,}" if power >= 0 else f"{10**power:g}", "middle", 'fill="#555"')


def _mark(panel: Panel, line: Loaded, y: float) -> str:
    values, colour = panel.figures(line), _COLOURS[line.server]
    lane = y + _ROW / 2 + (list(_COLOURS).index(line.server) - (len(_COLOURS) - 1) / 2) * _LANE
    least, most, middle = (panel.at(value) for value in (min(values), max(values), median(values)))
    return (
        f'<line x1="{least:.1f}" y1="{lane:.1f}" x2="{most:.1f}" y2="{lane:.1f}" stroke="{colour}" stroke-width="2"/>'
        f'<circle cx="{middle:.1f}" cy="{lane:.1f}" r="4" fill="{colour}"/>'
    )


def _batches_before(rows: Sequence[tuple[int, int]], row: tuple[int, int]) -> int:
    return len({items for items, _ in rows if items < row[0]})


def _thousandths(values: Series) -> Series:
    return [value / 1000 for value in values]


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{text}</text>'.replace(" >", ">")
