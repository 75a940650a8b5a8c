"""Plots as SVG: bars with their spread, bars of ratios, and lines on logarithmic axes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log2, log10

from .spread import Spread, rounded

OURS = "#c2410c"
FLOOR = "#9ca3af"
OTHERS = ("#1d4ed8", "#0f766e", "#7e22ce", "#a16207", "#be185d", "#166534", "#4338ca", "#57534e")
_INK = "#1f2937"
_GRID = "#e5e7eb"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar."""

    label: str
    spread: Spread
    color: str


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that belong together; `detail` is a second, smaller line of the label."""

    label: str
    detail: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the spread at each place of the horizontal axis; `dash` as in SVG."""

    label: str
    points: Mapping[int, Spread]
    color: str
    dash: str


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars, each with its median as text and a line from the lowest to the highest."""
    left, width, step, top = 250, 420, 22, 44
    scale = width / max(row.spread.most for row in rows)
    parts = [_text(12, 24, f"{title}: {unit}", size=15)]
    for index, row in enumerate(rows):
        y = top + index * step
        least, median, most = (
            left + value * scale for value in (row.spread.least, row.spread.median, row.spread.most)
        )
        middle = y + 8
        parts += [
            _text(left - 8, y + 12, row.label, anchor="end"),
            f'<rect x="{left}" y="{y}" width="{median - left:.1f}" height="16"'
            f' fill="{row.color}"/>',
            _line(least, middle, most, middle, _INK),
            _text(most + 6, y + 12, rounded(row.spread.median)),
        ]
    return _drawing(left + width + 90, top + len(rows) * step + 12, parts)


def ratios(title: str, axis: str, groups: Sequence[Group]) -> str:
    """Groups of horizontal bars that start at 1, on a logarithmic axis, with a legend."""
    left, width, step, gap, top = 270, 450, 15, 14, 76
    spreads = [bar.spread for group in groups for bar in group.bars]
    low = min(-1, floor(log2(min(spread.least for spread in spreads))))
    high = max(1, ceil(log2(max(spread.most for spread in spreads))))

    def x(ratio: float) -> float:
        return left + (log2(ratio) - low) / (high - low) * width

    bottom = top + sum(len(group.bars) * step + gap for group in groups)
    parts = [_text(12, 24, title, size=15)]
    legend = {bar.label: bar.color for group in groups for bar in group.bars}
    for index, (label, color) in enumerate(legend.items()):
        at = left + index * 150
        parts += [
            f'<rect x="{at}" y="40" width="12" height="12" fill="{color}"/>',
            _text(at + 18, 50, label),
        ]
    for power in range(low, high + 1):
        at_tick = x(2**power)
        color = _INK if power == 0 else _GRID
        parts += [
            _line(at_tick, top - 8, at_tick, bottom, color),
            _text(at_tick, bottom + 18, f"{2**power:g}", anchor="middle"),
        ]
    parts.append(_text(left + width / 2, bottom + 38, axis, anchor="middle"))
    y = top
    for group in groups:
        middle = y + len(group.bars) * step / 2
        parts += [
            _text(left - 12, middle - 2, group.label, anchor="end"),
            _text(left - 12, middle + 12, group.detail, anchor="end", size=10),
        ]
        for bar in group.bars:
            start, end = sorted((x(1), x(bar.spread.median)))
            most = x(bar.spread.most)
            parts += [
                f'<rect x="{start:.1f}" y="{y}" width="{end - start:.1f}" height="{step - 3}"'
                f' fill="{bar.color}"/>',
                _line(x(bar.spread.least), y + 6, most, y + 6, _INK),
                _text(max(most, x(1)) + 6, y + 10, rounded(bar.spread.median), size=11),
            ]
            y += step
        y += gap
    return _drawing(left + width + 30, bottom + 52, parts)


def lines(
    title: str,
    axis: str,
    unit: str,
    series: Sequence[Line],
    tick: Callable[[int], str],
) -> str:
    """Lines over a horizontal axis of counts or sizes; both axes are logarithmic."""
    left, top, width, height = 80, 50, 520, 340
    places = sorted({place for line in series for place in line.points})
    spreads = [spread for line in series for spread in line.points.values()]
    low = floor(log10(min(spread.least for spread in spreads)))
    high = ceil(log10(max(spread.most for spread in spreads)))
    span = log10(places[-1] / places[0]) or 1

    def x(place: int) -> float:
        return left + log10(place / places[0]) / span * width

    def y(value: float) -> float:
        return top + (high - log10(value)) / (high - low) * height

    parts = [_text(12, 24, f"{title}: {unit}", size=15)]
    for power in range(low, high + 1):
        at = y(10**power)
        parts += [
            _line(left, at, left + width, at, _GRID),
            _text(left - 8, at + 4, f"{10**power:g}", anchor="end"),
        ]
    for place in places:
        parts.append(_text(x(place), top + height + 20, tick(place), anchor="middle"))
    parts.append(_text(left + width / 2, top + height + 42, axis, anchor="middle"))
    for index, line in reversed([*enumerate(series)]):  # the first line lies on top
        path = " ".join(
            f"{x(place):.1f},{y(spread.median):.1f}" for place, spread in line.points.items()
        )
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{line.color}" stroke-width="2"'
            f' stroke-dasharray="{line.dash}"/>'
        )
        for place, spread in line.points.items():
            parts.append(_line(x(place), y(spread.least), x(place), y(spread.most), line.color))
        legend = top + 10 + index * 20
        parts += [
            f'<path d="M {left + width + 20} {legend} h 28" stroke="{line.color}"'
            f' stroke-width="3" stroke-dasharray="{line.dash}"/>',
            _text(left + width + 56, legend + 4, line.label),
        ]
    return _drawing(left + width + 250, top + height + 60, parts)


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        f' fill="{_INK}">{escape(text)}</text>'
    )


def _line(x: float, y: float, to_x: float, to_y: float, color: str) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{color}"'
        ' stroke-width="1.5"/>'
    )


def _drawing(width: float, height: float, parts: Sequence[str]) -> str:
    # A white background, because the page around the plot may be dark.
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
            f' viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
            *parts,
            "</svg>\n",
        ]
    )
