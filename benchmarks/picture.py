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
