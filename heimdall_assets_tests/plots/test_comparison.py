"""Old figures against new ones, as a picture."""

from __future__ import annotations

import uuid

import numpy as np

from heimdall_assets.plots.canvas import png
from heimdall_assets.plots.comparison import COLUMNS, comparison_figure
from heimdall_assets.records import FeaturePairs

NAN = float("nan")


def pairs(name: str, old: list[float], new: list[float], unit: str = "dB") -> FeaturePairs:
    """A feature's pairs, of receivers that do not matter."""
    ids = (uuid.UUID(int=0),) * len(old)
    return FeaturePairs(name, unit, ids, ("RX1",) * len(old), np.array(old), np.array(new))


def test_every_feature_has_a_panel_with_its_name_unit_and_points() -> None:
    features = [pairs(f"f{index}", [1.0, 2.0, NAN], [1.5, 2.5, NAN], unit="Hz") for index in range(COLUMNS + 1)]
    figure = comparison_figure(features, "two receivers")
    assert figure.get_suptitle() == "two receivers"
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert titles == [f"f{index} [Hz]" for index in range(COLUMNS + 1)]
    points = figure.axes[0].lines[-1]
    assert np.array_equal(points.get_xydata(), [[1.0, 1.5], [2.0, 2.5]])
    assert png(figure).startswith(b"\x89PNG")


def test_figures_without_a_partner_are_ticks_at_the_edge_and_counted() -> None:
    figure = comparison_figure([pairs("x", [1.0, 2.0, NAN], [NAN, NAN, 3.0])], "")
    axes = figure.axes[0]
    assert {text.get_text() for text in axes.texts} == {"2 null now", "1 were null"}
    below, left = axes.lines[-2:]
    assert np.array_equal(below.get_xdata(), [1.0, 2.0])
    assert np.array_equal(left.get_ydata(), [3.0])


def test_a_feature_that_nobody_defines_says_so_and_one_receiver_is_enough() -> None:
    figure = comparison_figure([pairs("x", [NAN], [NAN]), pairs("y", [5.0], [5.0])], "")
    assert [text.get_text() for text in figure.axes[0].texts] == ["null in both"]
    low, high = figure.axes[1].get_xlim()
    assert low < 5.0 < high
    assert png(figure)


def test_figures_orders_of_magnitude_apart_are_drawn_on_a_scale_that_shows_both() -> None:
    figure = comparison_figure([pairs("near", [1.0], [2.0]), pairs("far", [-1.0, 2.0], [2.0, 3e6])], "")
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "symlog"]
    assert png(figure)
