"""The network on a graticule: receivers and known transmitters as points, no tiles, no other host."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from markupsafe import escape

from heimdall_assets.web.charts import nice_step, svg

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from markupsafe import Markup

    from heimdall_assets.db.network import Place

WIDTH, HEIGHT = 460.0, 330.0
EDGE = 30.0
LABEL_LETTER = 5.6
"""Width of a letter, for keeping labels apart."""
LINE = 12.0
MOST_LABELS = 60
LEAST_SPAN = 0.05
"""Degrees: a single place is drawn with this much around it."""


def network_map(receivers: Sequence[Place], sources: Sequence[Place], quiet: Collection[str]) -> Markup:
    """Draw receivers (those that went quiet stand out) and known transmitters.

    Equirectangular, with the parallel in the middle true to scale: right for a region, and recognisable for the world.

    Parameters
    ----------
    receivers, sources : sequence of Place
        At least one of all.
    quiet : collection of str
        Names of receivers.
    """
    projection = _Projection([*receivers, *sources])
    shapes = projection.graticule()
    taken: list[tuple[float, float, float, float]] = []
    points = []
    for place in sources:
        x, y = projection.place(place.latitude, place.longitude)
        corners = f"{x:.1f},{y - 6:.1f} {x + 5.2:.1f},{y + 3:.1f} {x - 5.2:.1f},{y + 3:.1f}"
        points.append((place, x, y, "source", f'<polygon class="source" points="{corners}">', "transmitter", "polygon"))
    for place in receivers:
        x, y = projection.place(place.latitude, place.longitude)
        is_quiet = place.name in quiet
        css, kind = ("receiver quiet", "receiver, gone quiet") if is_quiet else ("receiver", "receiver")
        points.append((place, x, y, css, f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="5">', kind, "circle"))
    taken += [(x - 6, y - 6, x + 6, y + 6) for _, x, y, *_ in points]
    for place, x, y, css, opening, kind, tag in points:
        title = f"{place.name}, {kind}: {place.latitude:.4f} N {place.longitude:.4f} E"
        shapes.append(f"{opening}<title>{escape(title)}</title></{tag}>")
        if len(points) <= MOST_LABELS:
            shapes.append(_label(place.name, x, y, css, taken))
    label = (
        f"Map of {len(receivers)} receivers, {len(quiet)} of them quiet, and {len(sources)} known transmitters, "
        f"from {projection.south:.2f} to {projection.north:.2f} degrees north "
        f"and {projection.west:.2f} to {projection.east:.2f} degrees east"
    )
    return svg(shapes, label, f'class="map" viewBox="0 0 {WIDTH:g} {HEIGHT:g}"')


class _Projection:
    def __init__(self, places: Sequence[Place]) -> None:
        latitudes = [place.latitude for place in places]
        longitudes = [place.longitude for place in places]
        middle_lat = (min(latitudes) + max(latitudes)) / 2
        middle_lon = (min(longitudes) + max(longitudes)) / 2
        self._squeeze = max(0.05, math.cos(math.radians(middle_lat)))
        height = max(max(latitudes) - min(latitudes), LEAST_SPAN) * 1.1
        width = max(max(longitudes) - min(longitudes), LEAST_SPAN) * self._squeeze * 1.1
        self._scale = min((WIDTH - 2 * EDGE) / width, (HEIGHT - 2 * EDGE) / height)
        half_lat = (HEIGHT / 2) / self._scale
        half_lon = (WIDTH / 2) / self._scale / self._squeeze
        self.south, self.north = max(-90.0, middle_lat - half_lat), min(90.0, middle_lat + half_lat)
        self.west, self.east = middle_lon - half_lon, middle_lon + half_lon
        self._middle = middle_lat, middle_lon

    def place(self, latitude: float, longitude: float) -> tuple[float, float]:
        """Point of the drawing."""
        x = WIDTH / 2 + (longitude - self._middle[1]) * self._squeeze * self._scale
        return x, HEIGHT / 2 - (latitude - self._middle[0]) * self._scale

    def graticule(self) -> list[str]:
        """Meridians and parallels at round degrees, with their numbers at the edge."""
        step = nice_step((self.north - self.south) / 4)
        shapes = []
        for index in range(math.ceil(self.south / step), math.floor(self.north / step) + 1):
            _, y = self.place(index * step, self._middle[1])
            shapes.append(f'<line class="grid" x1="0" x2="{WIDTH:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
            if y > LINE:
                shapes.append(f'<text x="4" y="{y - 3:.1f}">{_degrees(index * step, "N", "S")}</text>')
        for index in range(math.ceil(self.west / step), math.floor(self.east / step) + 1):
            x, _ = self.place(self._middle[0], index * step)
            shapes.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT:g}"/>')
            shapes.append(f'<text x="{x + 3:.1f}" y="{HEIGHT - 5:g}">{_degrees(index * step, "E", "W")}</text>')
        return shapes


def _degrees(value: float, positive: str, negative: str) -> str:
    return f"{abs(value):g}° {positive if value >= 0 else negative}"


def _label(name: str, x: float, y: float, css: str, taken: list[tuple[float, float, float, float]]) -> str:
    """The name beside its point, where no other is; none where there is no room."""
    width = len(name) * LABEL_LETTER
    offers = (
        ("start", x + 9, y + 4),
        ("end", x - 9, y + 4),
        ("middle", x, y - 10),
        ("middle", x, y + 17),
        ("start", x + 7, y - 7),
        ("start", x + 7, y + 14),
        ("end", x - 7, y - 7),
        ("end", x - 7, y + 14),
    )
    for anchor, text_x, text_y in offers:
        left = text_x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        box = (left, text_y - LINE + 2, left + width, text_y + 2)
        is_inside = box[0] >= 0 and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT
        if is_inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            where = f'x="{text_x:.1f}" y="{text_y:.1f}" text-anchor="{anchor}"'
            return f'<text class="name {css}" {where}>{escape(name)}</text>'
    return ""


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
