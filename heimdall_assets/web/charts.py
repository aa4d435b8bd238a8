"""Charts as inline SVG, drawn by the server: shapes have classes, the style sheet has the colours of both schemes.

Every chart says in words what it shows (``role="img"`` with a label), and its page has the figures as a table or text
beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

LEFT, RIGHT, TOP, BOTTOM = 40.0, 8.0, 8.0, 22.0
"""Margins in units of the drawing, which are pixels where it has its own size."""
INSTANT_S = 1.0
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Band:
    """A layer of a stacked chart: the class that colours it, its name, a value a point."""

    css: str
    name: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a chart: a label below it, its parts from the bottom up as (class, value), and its words."""

    label: str
    parts: Sequence[tuple[str, float]]
    title: str


def share_bar(parts: Sequence[tuple[str, str, int]], label: str) -> Markup:
    """One bar of parts (class, name, count); what is there is visible, however small its share."""
    total = sum(count for *_, count in parts)
    if not total:
        return Markup("")
    least = 0.6
    shares = [max(least, 100.0 * count / total) if count else 0.0 for *_, count in parts]
    scale = 100.0 / sum(shares)
    shapes, x = [], 0.0
    for (css, name, count), share in zip(parts, shares, strict=True):
        if count:
            width = share * scale
            shapes.append(
                f'<rect class="{css}" x="{x:.3f}" width="{width:.3f}" height="6">'
                f"<title>{escape(name)}: {count:,}</title></rect>"
            )
            x += width
    return svg(shapes, label, 'class="bar" viewBox="0 0 100 6" preserveAspectRatio="none"')


def stacked(
    moments: Sequence[datetime], bands: Sequence[Band], label: str, *, width: float, height: float = 236.0
) -> Markup:
    """Layers over time, the first at the bottom; the vertical axis is a count from 0.

    Parameters
    ----------
    moments : sequence of datetime
        At least one, in order; a single one is drawn as a stretch.
    bands : sequence of Band
        With a value a moment each.
    label : str
        What the chart shows, in words.
    width, height : float
        Of the drawing.
    """
    if len(moments) == 1:
        moments = [moments[0], moments[0]]
        bands = [Band(band.css, band.name, [*band.values] * 2) for band in bands]
    seconds = [(moment - moments[0]).total_seconds() for moment in moments]
    span = max(seconds[-1], INSTANT_S)
    if seconds[-1] < INSTANT_S:
        seconds = [index * span / (len(moments) - 1) for index in range(len(moments))]
    lines = grid_of(max(sum(values) for values in zip(*(band.values for band in bands), strict=True)))
    place_x, place_y = _scales(width, height, span, lines[-1])
    shapes = [_horizontal_lines(width, lines, place_y)]
    below = [0.0] * len(moments)
    for band in bands:
        if not any(band.values):
            continue
        above = [low + value for low, value in zip(below, band.values, strict=True)]
        # Between two reports nothing is known: the last one holds until the next.
        upper = _steps([place_x(s) for s in seconds], [place_y(v) for v in above])
        lower = _steps([place_x(s) for s in seconds], [place_y(v) for v in below])
        path = " ".join([*upper, *reversed(lower)])
        shapes.append(f'<polygon class="{band.css}" points="{path}"><title>{escape(band.name)}</title></polygon>')
        below = above
    shapes.append(_time_labels(moments, place_x, height, width))
    return _chart(shapes, label, width, height)


def columns(
    data: Sequence[Column],
    label: str,
    *,
    width: float,
    height: float = 150.0,
    unit: str = "",
    is_binned: bool = False,
) -> Markup:
    """Columns of parts; every one has its words as a tooltip. Labels of bins stand at their left edges."""
    lines = grid_of(max((sum(value for _, value in column.parts) for column in data), default=0.0))
    place_x, place_y = _scales(width, height, float(max(1, len(data))), lines[-1])
    shapes = [_horizontal_lines(width, lines, place_y)]
    gap = 1.0 if len(data) > 1 else 0.0
    room = 46.0
    every = max(1, math.ceil(len(data) * room / (width - LEFT - RIGHT)))
    for index, column in enumerate(data):
        left, right = place_x(index) + gap / 2, place_x(index + 1) - gap / 2
        low, rects = 0.0, []
        for css, value in column.parts:
            if value:
                y = place_y(low + value)
                size = f'width="{right - left:.2f}" height="{place_y(low) - y:.2f}"'
                rects.append(f'<rect class="{css}" x="{left:.2f}" y="{y:.2f}" {size}/>')
                low += value
        shapes.append(f"<g><title>{escape(column.title)}</title>{''.join(rects)}</g>")
        if index % every == 0:
            x = left if is_binned else (left + right) / 2
            anchor = f'x="{x:.1f}" y="{height - 6:.1f}" text-anchor="middle"'
            shapes.append(f"<text {anchor}>{escape(column.label)}</text>")
    if unit:
        shapes.append(f'<text x="{width - RIGHT:.1f}" y="{TOP + 9:.1f}" text-anchor="end">{escape(unit)}</text>')
    return _chart(shapes, label, width, height)


def histogram(
    values: Sequence[float],
    css: str,
    label: str,
    *,
    width: float,
    unit: str,
    low: float | None = None,
    high: float | None = None,
) -> Markup:
    """How often values fall into bins of a round width; those beyond ``low`` and ``high`` are in the outer bins."""
    first = min(values) if low is None else max(low, min(values))
    last = max(values) if high is None else min(high, max(values))
    step = nice_step((last - first) / 20.0) if last > first else 1.0
    start = math.floor(first / step)
    count = min(60, math.floor(last / step) - start + 1)
    counts = [0] * count
    for value in values:
        counts[min(count - 1, max(0, math.floor(value / step) - start))] += 1
    data = [
        Column(
            label=f"{(start + index) * step:g}",
            parts=[(css, float(number))],
            title=f"{(start + index) * step:g} to {(start + index + 1) * step:g} {unit}: {number:,} sessions",
        )
        for index, number in enumerate(counts)
    ]
    return columns(data, label, width=width, unit=unit, is_binned=True)


def nice_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least this."""
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= least * (1 - 1e-9))


def grid_of(most: float) -> list[float]:
    """Values of the lines across a chart of counts: from 0 in at most five round steps, of 1 at the least."""
    step = max(1.0, nice_step(most / 5.0))
    return [index * step for index in range(max(1, math.ceil(most / step)) + 1)]


def compact(value: float) -> str:
    """A count in a few letters."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def _scales(
    width: float, height: float, span: float, top: float
) -> tuple[Callable[[float], float], Callable[[float], float]]:
    return (
        lambda x: LEFT + (width - LEFT - RIGHT) * x / span,
        lambda y: height - BOTTOM - (height - TOP - BOTTOM) * y / top,
    )


def _horizontal_lines(width: float, values: Sequence[float], place_y: Callable[[float], float]) -> str:
    lines = []
    for value in values:
        y = place_y(value)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{compact(value)}</text>')
    return "".join(lines)


def _time_labels(moments: Sequence[datetime], place_x: Callable[[float], float], height: float, width: float) -> str:
    span = max((moments[-1] - moments[0]).total_seconds(), INSTANT_S)
    form = "%d %b" if span > 3 * DAY_S else "%d %b %H:%M" if span > DAY_S / 2 else "%H:%M:%S"
    count = max(1, int((width - LEFT - RIGHT) // 150))
    texts: list[str] = []
    last = ""
    for index in range(count + 1):
        share = index / count
        moment = moments[0] + (moments[-1] - moments[0]) * share
        anchor = "start" if index == 0 else "end" if index == count else "middle"
        if moment.strftime(form) == last:
            continue
        last = moment.strftime(form)
        texts.append(f'<text x="{place_x(share * span):.1f}" y="{height - 6:.1f}" text-anchor="{anchor}">{last}</text>')
    return "".join(texts)


def _steps(xs: Sequence[float], ys: Sequence[float]) -> list[str]:
    points = [f"{xs[0]:.1f},{ys[0]:.1f}"]
    for previous, x, y in zip(ys, xs[1:], ys[1:], strict=False):
        points += [f"{x:.1f},{previous:.1f}", f"{x:.1f},{y:.1f}"]
    return points


def _chart(shapes: Sequence[str], label: str, width: float, height: float) -> Markup:
    return svg(shapes, label, f'class="chart" viewBox="0 0 {width:g} {height:g}"')


def svg(shapes: Sequence[str], label: str, attributes: str) -> Markup:
    """A drawing with its words; texts within the shapes are escaped already."""
    opening = f'<svg {attributes} role="img" aria-label="{escape(label)}">'
    return Markup(f"{opening}{''.join(shapes)}</svg>")  # noqa: S704  # the one place: what goes in is escaped
