"""Colours for light and for dark pages, from the palette of Okabe and Ito, which colour-blind people can tell apart.

Nothing is told by colour alone: lines differ in dashes, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

TEXT_SIZE = 9.0
SMALL_SIZE = 8.0


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a picture; ``shade`` is the opacity of filled areas."""

    page: str
    ink: str
    grid: str
    line: str
    faint: str
    noise: str
    support: str
    edge: str
    carrier: str
    outside: str
    shade: float

    def dress(self, axes: Axes, title: str) -> None:
        """Colour an axes' frame, ticks, labels and grid, and give it a title; nobody else's settings change."""
        axes.set_title(title, loc="left", color=self.ink, fontsize=TEXT_SIZE, parse_math=False)
        axes.set_facecolor(self.page)
        axes.tick_params(colors=self.ink, labelsize=SMALL_SIZE)
        for spine in axes.spines.values():
            spine.set_color(self.grid)
        axes.grid(visible=True, color=self.grid, linewidth=0.5)
        axes.set_axisbelow(True)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(self.ink)
            label.set_fontsize(TEXT_SIZE)

    def legend(self, axes: Axes) -> Legend:
        """Put the legend to the right of the axes, where it covers nothing."""
        return axes.legend(
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0.0,
            frameon=False,
            fontsize=SMALL_SIZE,
            labelcolor=self.ink,
        )

    def paint(self, figure: Figure) -> None:
        """Colour the page."""
        figure.set_facecolor(self.page)


LIGHT = Theme(
    page="#ffffff",
    ink="#1a1a1a",
    grid="#c8c8c8",
    line="#0072b2",
    faint="#8fc3e3",
    noise="#d55e00",
    support="#e69f00",
    edge="#007a5a",
    carrier="#1a1a1a",
    outside="#808080",
    shade=0.22,
)
DARK = Theme(
    page="#14181d",
    ink="#e4e6e8",
    grid="#3c434b",
    line="#56b4e9",
    faint="#3d7a9c",
    noise="#ff8a3c",
    support="#e69f00",
    edge="#3fd0a4",
    carrier="#ffffff",
    outside="#9aa0a6",
    shade=0.25,
)
