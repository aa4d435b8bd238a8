"""Geometric dilution of precision: how much the receivers' places magnify errors of measured arrival times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.errors import BadParameter

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

WGS84_SEMI_MAJOR_AXIS_M = 6_378_137.0
WGS84_FLATTENING = 1 / 298.257223563

SINGULAR_CONDITION = 1e10
"""Above this condition number of H^T H the geometry leaves a direction undetermined."""

SAME_PLACE_M = 1.0
"""A receiver nearer than this to the emitter has no direction to it."""


def gdop(receivers_latlon: ArrayLike, emitter_latlon: ArrayLike) -> float | None:
    """Return the dilution of precision of a position from arrival times at several receivers.

    GDOP = sqrt(trace((H^T H)^-1)), where a row of H is [u_east, u_north, 1]: the horizontal part of the unit vector
    from the emitter to the receiver, in local east-north-up coordinates at the emitter, and the unknown time of
    emission. Differences of arrival times carry the same information as the times with an unknown common clock
    (D.-H. Shin, T.-K. Sung, "Comparisons of Error Characteristics between TOA and TDOA Positioning", IEEE
    Transactions on Aerospace and Electronic Systems 38(1), 307-311, 2002).

    Parameters
    ----------
    receivers_latlon : array_like, shape (n, 2) or (n, 3)
        Degrees north and east on WGS84, and metres above the ellipsoid if given (else 0).
    emitter_latlon : array_like, shape (2,) or (3,)
        The same of the emitter.

    Returns
    -------
    float or None
        At least sqrt(5 / n), which n receivers spaced evenly in a ring around the emitter reach. None for fewer than
        3 receivers and where they determine no position, such as receivers in one direction from the emitter.

    Raises
    ------
    BadParameter
        Coordinates of another shape, not finite, or beyond the poles.
    """
    receivers = _places("receivers_latlon", receivers_latlon)
    emitter = _places("emitter_latlon", np.atleast_2d(np.asarray(emitter_latlon)))
    if len(receivers) < 3:
        return None
    offsets = _earth_centred(receivers) - _earth_centred(emitter)
    distances = np.linalg.norm(offsets, axis=1)
    if np.any(distances < SAME_PLACE_M):
        return None
    units = (offsets / distances[:, np.newaxis]) @ _east_north(emitter[0])
    rows = np.column_stack([units, np.ones(len(units))])
    normal = rows.T @ rows
    if np.linalg.cond(normal) > SINGULAR_CONDITION:
        return None
    return float(np.sqrt(np.trace(np.linalg.inv(normal))))


def centroid_latlon(places: ArrayLike) -> tuple[float, float] | None:
    """Return the centre of places on the globe, degrees north and east.

    The mean of the directions from the Earth's centre, so that places on both sides of the date line or around a
    pole have the centre one expects. None where there is no place, or the directions cancel.
    """
    points = np.asarray(places, np.float64)
    if points.size == 0:
        return None
    latitude, longitude = np.radians(points[:, 0]), np.radians(points[:, 1])
    east = np.cos(latitude) * np.cos(longitude)
    north = np.cos(latitude) * np.sin(longitude)
    x, y, z = east.mean(), north.mean(), np.sin(latitude).mean()
    if np.hypot(np.hypot(x, y), z) < 1e-6:
        return None
    return float(np.degrees(np.arctan2(z, np.hypot(x, y)))), float(np.degrees(np.arctan2(y, x)))


def _places(name: str, places: ArrayLike) -> NDArray[np.float64]:
    """Return rows of latitude, longitude and altitude."""
    try:
        array = np.asarray(places, np.float64)
    except (TypeError, ValueError):
        raise BadParameter(f"{name}={places!r} are not coordinates in degrees") from None
    if array.size == 0:
        return np.empty((0, 3))
    if array.ndim != 2 or array.shape[1] not in {2, 3}:
        raise BadParameter(f"{name} of shape {array.shape} are not rows of latitude, longitude and perhaps altitude")
    if not np.isfinite(array).all() or np.any(np.abs(array[:, 0]) > 90):
        raise BadParameter(f"{name}={places!r} are not finite, with latitudes within +-90 degrees")
    if array.shape[1] == 2:
        array = np.column_stack([array, np.zeros(len(array))])
    return array


def _earth_centred(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return earth-centred, earth-fixed coordinates in metres, shape (n, 3)."""
    latitude, longitude = np.radians(places[:, 0]), np.radians(places[:, 1])
    altitude_m = places[:, 2]
    eccentricity_squared = WGS84_FLATTENING * (2 - WGS84_FLATTENING)
    normal_m = WGS84_SEMI_MAJOR_AXIS_M / np.sqrt(1 - eccentricity_squared * np.sin(latitude) ** 2)
    return np.column_stack(
        [
            (normal_m + altitude_m) * np.cos(latitude) * np.cos(longitude),
            (normal_m + altitude_m) * np.cos(latitude) * np.sin(longitude),
            (normal_m * (1 - eccentricity_squared) + altitude_m) * np.sin(latitude),
        ]
    )


def _east_north(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vectors towards east and north at a place, as columns, shape (3, 2)."""
    latitude, longitude = np.radians(place[0]), np.radians(place[1])
    east = [-np.sin(longitude), np.cos(longitude), 0.0]
    north = [-np.sin(latitude) * np.cos(longitude), -np.sin(latitude) * np.sin(longitude), np.cos(latitude)]
    return np.column_stack([east, north])
