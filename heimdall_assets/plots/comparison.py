"""Old figures against new ones: a panel a feature, a point a receiver, and the line where both say the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import matplotlib as mpl
import numpy as np

from heimdall_assets.plots.canvas import STYLE, sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from heimdall_assets.records import FeaturePairs

COLUMNS = 6
PANEL_IN = 2.6
OLD, NEW, SAME = "tab:red", "tab:blue", "0.5"
WIDE_RATIO = 1e4
"""Figures that span more than this are drawn on axes that are logarithmic away from zero."""


def comparison_figure(features: Sequence[FeaturePairs], title: str) -> Figure:
    """Draw every feature's pairs.

    Parameters
    ----------
    features : sequence of FeaturePairs
        At least one.
    title : str
        Says what was compared.

    Returns
    -------
    Figure
        Old figures to the right, new ones upwards. Where only one of the two is defined, it is a tick at the edge:
        below, old figures that are null now; left, new ones that were null.
    """
    with mpl.rc_context(cast("Any", STYLE)):  # the stubs know every parameter by name
        rows = math.ceil(len(features) / COLUMNS)
        figure = sheet(PANEL_IN * min(COLUMNS, len(features)), PANEL_IN * rows + 0.5)
        panels = list(figure.subplots(rows, min(COLUMNS, len(features)), squeeze=False).flat)
        for axes, pairs in zip(panels, features, strict=False):
            _draw(axes, pairs)
        for axes in panels[len(features) :]:
            axes.set_axis_off()
        figure.suptitle(title, fontsize=10)
        figure.supxlabel("stored by other code", color=OLD, fontsize=9)
        figure.supylabel("computed now", color=NEW, fontsize=9)
    return figure


def _draw(axes: Axes, pairs: FeaturePairs) -> None:
    axes.set_title(f"{pairs.name} [{pairs.unit}]" if pairs.unit else pairs.name, fontsize=8)
    axes.tick_params(labelsize=6)
    has_old, has_new = np.isfinite(pairs.old), np.isfinite(pairs.new)
    is_both = has_old & has_new
    limits = _limits(np.concatenate([pairs.old[has_old], pairs.new[has_new]]))
    if limits is None:
        axes.text(0.5, 0.5, "null in both", transform=axes.transAxes, ha="center", va="center", color=SAME)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    if linear := _linear_up_to(pairs, has_old, has_new):
        axes.set_xscale("symlog", linthresh=linear)
        axes.set_yscale("symlog", linthresh=linear)
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    axes.axline((limits[0], limits[0]), (limits[1], limits[1]), color=SAME, linewidth=0.8, zorder=1)
    axes.plot(pairs.old[is_both], pairs.new[is_both], ".", color=NEW, markersize=3, alpha=0.5)
    _draw_rug(axes, pairs.old[has_old & ~has_new], is_old=True)
    _draw_rug(axes, pairs.new[has_new & ~has_old], is_old=False)


def _draw_rug(axes: Axes, values: NDArray[np.float64], *, is_old: bool) -> None:
    """Figures without a partner, as ticks at the edge, and how many there are."""
    if not values.size:
        return
    edge = np.full(values.size, 0.02)
    if is_old:
        axes.plot(values, edge, "|", color=OLD, markersize=7, alpha=0.5, transform=axes.get_xaxis_transform())
        axes.text(0.97, 0.07, f"{values.size} null now", transform=axes.transAxes, ha="right", color=OLD, fontsize=7)
        return
    axes.plot(edge, values, "_", color=NEW, markersize=7, alpha=0.5, transform=axes.get_yaxis_transform())
    axes.text(0.07, 0.9, f"{values.size} were null", transform=axes.transAxes, color=NEW, fontsize=7)


def _limits(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Both axes' range, with some room; None without any figure."""
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    return low - room, high + room


def _linear_up_to(pairs: FeaturePairs, has_old: NDArray[np.bool_], has_new: NDArray[np.bool_]) -> float | None:
    """Where a logarithmic axis begins to be linear, for figures that lie orders of magnitude apart; else None."""
    medians = [float(np.median(np.abs(values))) for values in (pairs.old[has_old], pairs.new[has_new]) if values.size]
    largest = float(np.abs(np.concatenate([pairs.old[has_old], pairs.new[has_new]])).max())
    smallest = min(medians)
    return smallest if 0 < smallest < largest / WIDE_RATIO else None
