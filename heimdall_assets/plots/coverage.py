"""Coverage over time as a small picture, for pages that show little else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import matplotlib as mpl
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

from heimdall_assets.plots.canvas import STYLE, sheet
from heimdall_assets.plots.theme import LIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class CoveragePoint:
    """How many sessions were where at a moment; together all completed ones."""

    moment: datetime
    with_features: int
    waiting: int
    failed: int
    not_computable: int


BANDS = (
    ("with features", "with_features", LIGHT.edge),
    ("waiting", "waiting", LIGHT.faint),
    ("failed", "failed", LIGHT.noise),
    ("without IQ or ignored", "not_computable", LIGHT.grid),
)
"""Name for people, attribute, colour; from the bottom upwards."""


def coverage_figure(points: Sequence[CoveragePoint]) -> Figure:
    """Sessions over time, stacked.

    Parameters
    ----------
    points : sequence of CoveragePoint
        At least one, in the order of time; each holds until the next.
    """
    first, last = points[0].moment, points[-1].moment
    moments = [float(date2num(point.moment)) for point in points]  # type: ignore[no-untyped-call]  # it has no types
    with mpl.rc_context(cast("Any", STYLE)):  # the stubs know every parameter by name
        figure = sheet(5.4, 2.0)
        axes = figure.add_subplot()
        values = [[getattr(point, attribute) for point in points] for _, attribute, _ in BANDS]
        # what never occurs is not in the legend, which is never empty
        names = [
            name if any(counts) or name == BANDS[0][0] else f"_{name}"
            for (name, _, _), counts in zip(BANDS, values, strict=True)
        ]
        colours = [colour for _, _, colour in BANDS]
        if len(points) == 1:  # a moment has no width
            bottom = 0
            for counts, name, colour in zip(values, names, colours, strict=True):
                axes.bar(moments, counts, 0.01, bottom, color=colour, label=name)
                bottom += counts[0]
        else:
            axes.stackplot(moments, values, colors=colours, labels=names, step="post")
            axes.set_xlim(moments[0], moments[-1])
        axes.set_ylim(bottom=0)
        locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        LIGHT.dress(axes, f"sessions, {first:%d %b %Y} to {last:%d %b %Y %H:%M} UTC")
        LIGHT.legend(axes)
        LIGHT.paint(figure)
        return figure
