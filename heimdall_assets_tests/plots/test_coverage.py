"""The picture of coverage over time: its bands are the counts, and only those that occur are named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from heimdall_assets.plots.canvas import png
from heimdall_assets.plots.coverage import CoveragePoint, coverage_figure

START = datetime(2026, 1, 1, tzinfo=UTC)


def points(counts: list[tuple[int, int, int, int]]) -> list[CoveragePoint]:
    """An hour apart."""
    return [CoveragePoint(START + timedelta(hours=index), *each) for index, each in enumerate(counts)]


def names(figure: Any) -> list[str]:
    """What the legend says."""
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_bands_are_stacked_counts_and_what_never_occurs_is_not_in_the_legend() -> None:
    figure = coverage_figure(points([(0, 10, 0, 0), (6, 3, 1, 0), (9, 0, 1, 0)]))
    assert names(figure) == ["with features", "waiting", "failed"]
    axes: Any = figure.axes[0]
    tops = [np.max(band.get_paths()[0].vertices[:, 1]) for band in axes.collections]
    assert tops == [9, 10, 10, 10]
    assert axes.get_ylim()[0] == 0
    assert png(figure).startswith(b"\x89PNG")


def test_a_single_report_is_drawn_too() -> None:
    figure = coverage_figure(points([(3, 1, 0, 2)]))
    assert names(figure) == ["with features", "waiting", "without IQ or ignored"]
    axes: Any = figure.axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 6


def test_the_picture_is_small_enough_for_an_event_every_five_minutes() -> None:
    figure = coverage_figure(points([(index, 100 - index, index % 7, 1) for index in range(100)]))
    assert len(png(figure)) < 20_000
