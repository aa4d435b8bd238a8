"""The sheet that every picture is drawn on: no display, no global state, one size of letters.

matplotlib is imported here and in the modules that draw, never by the package itself: a command that draws nothing
does not pay for it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from heimdall_assets.errors import OutputFailed

if TYPE_CHECKING:
    from pathlib import Path

DPI = 120
STYLE = {"font.size": 9.0, "axes.titlesize": 10.0, "axes.grid": True, "grid.alpha": 0.3}
"""For ``matplotlib.rc_context``: a figure is drawn inside of it, so that nobody's settings change."""


def sheet(width_in: float, height_in: float) -> Figure:
    """An empty figure with a canvas of its own: threads may draw at the same time.

    Parameters
    ----------
    width_in, height_in : float
        Size in inches, at 120 dots each.
    """
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure into a file; the suffix says the format (png, svg, pdf).

    Raises
    ------
    OutputFailed
        The file cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower().removeprefix("."))
    try:
        path.write_bytes(buffer.getvalue())
    except OSError as error:
        raise OutputFailed(f"{path} cannot be written: {error.strerror or error}") from error
