"""Pictures of what was measured, as SVG that needs nothing to be drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_ROW, _LEFT, _WIDTH = 22, 170, 640


def percentile_picture(samples: Mapping[str, Sequence[float]], least: float = 0.001, most: float = 30.0) -> str:
    """
    For each name a line on a logarithmic axis of seconds: from the 1st to the 99th percentile, a bar from the 25th to the
    75th, a mark at the median.
    """

    def x(seconds: float) -> float:
        share = math.log(min(max(seconds, least), most) / least) / math.log(most / least)
        return _LEFT + share * _WIDTH

    height = _ROW * (len(samples) + 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 30} {height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for decade in range(round(math.log10(least)), math.ceil(math.log10(most)) + 1):
        seconds = 10.0**decade
        if least <= seconds <= most:
            label = f"{seconds:g} s" if seconds >= 1 else f"{1000 * seconds:g} ms"
            parts.append(f'<line x1="{x(seconds):.1f}" x2="{x(seconds):.1f}" y1="8" y2="{height - _ROW}" stroke="#ddd"/>')
            parts.append(f'<text x="{x(seconds):.1f}" y="{height - 6}" text-anchor="middle" fill="#333">{label}</text>')
    for row, (name, values) in enumerate(samples.items()):
        y = _ROW * (row + 0.9)
        low, first, middle, third, high = (_percentile(values, share) for share in (0.01, 0.25, 0.5, 0.75, 0.99))
        parts.append(f'<text x="{_LEFT - 10}" y="{y + 4:.1f}" text-anchor="end" fill="#333">{name}</text>')
        parts.append(f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="#4a78b0"/>')
        wide = max(1.0, x(third) - x(first))
        parts.append(f'<rect x="{x(first):.1f}" width="{wide:.1f}" y="{y - 6:.1f}" height="12" fill="#9dbde0"/>')
        mark = f'x1="{x(middle):.1f}" x2="{x(middle):.1f}" y1="{y - 8:.1f}" y2="{y + 8:.1f}"'
        parts.append(f'<line {mark} stroke="#123" stroke-width="2"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


#: Lines are told apart by colour and by the name at their end.
_COLOURS = ("#0b6e4f", "#c1121f", "#5f4bb6", "#1d70a2", "#b07d00", "#6b6b6b", "#a23b72", "#2b2b2b")
_PANEL_WIDTH, _PANEL_HEIGHT, _MARGIN = 400, 260, 60


def line_picture(panels: Sequence[tuple[str, Mapping[str, Mapping[float, float]]]], below: str) -> str:
    """
    Panels side by side: for each name a line through its points, on logarithmic axes.

    :param panels: what is shown, and by name the values over what stands ``below``.
    """
    width = (_PANEL_WIDTH + _MARGIN + 90) * len(panels)
    height = _PANEL_HEIGHT + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    names = list(dict.fromkeys(name for _, lines in panels for name in lines))
    for number, (title, lines) in enumerate(panels):
        left, top = _MARGIN + number * (_PANEL_WIDTH + _MARGIN + 90), 30
        xs = [x for line in lines.values() for x in line]
        ys = [y for line in lines.values() for y in line.values()]
        if not xs:
            continue
        x_axis, y_axis = _Axis(min(xs), max(xs), left, left + _PANEL_WIDTH), _Axis(min(ys), max(ys), top + _PANEL_HEIGHT, top)
        parts.append(f'<text x="{left}" y="{top - 12}" font-weight="bold" fill="#222">{title}</text>')
        for value in y_axis.marks():
            y = y_axis.at(value)
            parts.append(f'<line x1="{left}" x2="{left + _PANEL_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e3e3"/>')
            parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#444">{value:g}</text>')
        for value in sorted(set(xs)):
            x = x_axis.at(value)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + _PANEL_HEIGHT}" stroke="#f0f0f0"/>')
            label = f'<text x="{x:.1f}" y="{top + _PANEL_HEIGHT + 16}" text-anchor="middle" fill="#444">{value:g}</text>'
            parts.append(label)
        middle = left + _PANEL_WIDTH / 2
        parts.append(f'<text x="{middle}" y="{top + _PANEL_HEIGHT + 34}" text-anchor="middle" fill="#444">{below}</text>')
        ends: list[tuple[float, str, str]] = []
        for name, line in lines.items():
            colour = _COLOURS[names.index(name) % len(_COLOURS)]
            points = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(line[x]):.1f}" for x in sorted(line))
            strong = 3 if name == names[0] else 1.5
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{strong}"/>')
            ends.append((y_axis.at(line[max(line)]), name, colour))
        last = -100.0
        for y, name, colour in sorted(ends):
            last = max(y, last + 13)
            parts.append(f'<text x="{left + _PANEL_WIDTH + 6}" y="{last + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axis:
    """A logarithmic axis from one place to another."""

    def __init__(self, least: float, most: float, begin: float, end: float) -> None:
        self._least, self._most = math.log10(max(least, 1e-6)) - 0.05, math.log10(max(most, 1e-6)) + 0.05
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        """The place of a value."""
        share = (math.log10(max(value, 1e-6)) - self._least) / (self._most - self._least)
        return self._begin + share * (self._end - self._begin)

    def marks(self) -> list[float]:
        """1, 2 and 5 of each power of ten that is on it."""
        exponents = range(math.floor(self._least), math.ceil(self._most) + 1)
        return [m * 10.0**e for e in exponents for m in (1, 2, 5) if self._least <= math.log10(m * 10.0**e) <= self._most]
