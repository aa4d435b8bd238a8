"""What a stored row says of its receivers, whoever wrote it: other code had keys and nestings of its own.

Nothing here raises on what it reads: what cannot be understood is undefined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

AGGREGATES = ("mean", "std", "min", "max")
NAME_KEYS = ("rx_id", "rx_name", "receiver_id", "receiver", "station", "station_name", "name")
MEAN_KEYS = ("mean", "avg", "average", "value")
PLACE_KEYS = (("rx_lat", "latitude", "lat"), ("rx_lon", "longitude", "lon"))
MOST_NESTED = 3
"""How deep a feature is looked for: ``features.spectral.bandwidth_hz`` at the most."""


@dataclass(frozen=True, slots=True)
class StoredReceiver:
    """One receiver's object in a stored row.

    Attributes
    ----------
    name : str or None
        Its name as the writer knew it.
    latitude, longitude : float or None
        Degrees north and east.
    error : object
        What is said to have failed; None where it has features.
    content : mapping
        The whole object.
    """

    name: str | None
    latitude: float | None
    longitude: float | None
    error: object
    content: Mapping[str, Any]

    def mean_of(self, feature: str) -> float | None:
        """A feature's mean over the chunks; a bare number is one. None where undefined or not to be understood.

        A receiver that failed has none: its ``signal_present`` is false for readers that look for no error.
        """
        return None if self.error is not None else mean_of(self._found(feature))

    def aggregate_of(self, feature: str, aggregate: str) -> float | None:
        """One of a feature's aggregates, as our own rows have them."""
        value = self.content.get(feature)
        return number_of(value.get(aggregate)) if isinstance(value, Mapping) else None

    def _found(self, feature: str) -> object:
        level: list[Mapping[str, Any]] = [self.content]
        for _ in range(MOST_NESTED):
            for each in level:
                for key in (feature, f"{feature}_mean"):
                    if key in each:
                        return each[key]
            level = [item for each in level for item in each.values() if isinstance(item, Mapping)]
        return None


def receivers_of(row: Mapping[str, Any]) -> list[StoredReceiver]:
    """The receivers of a row as ``db.features.stored_features`` gives it."""
    return [_receiver(content) for content in row["receiver_features"]]


def inputs_of(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a row says was read for each receiver: name -> identity; without those that other code put differently."""
    inputs = row["extraction_metadata"].get("receivers")
    if not isinstance(inputs, Mapping):
        return {}
    return {str(name): identity for name, identity in inputs.items() if isinstance(identity, Mapping)}


def front_end_of(notes: object) -> str:
    """Which passband and response figures are based on, and who says so, in one phrase; empty where it is unknown."""
    if not isinstance(notes, Mapping):
        return ""
    parts = []
    match [_numbers(notes.get("passband_hz")), notes.get("passband_origin")]:
        case [[float() as low_hz, float() as high_hz], str() as origin]:
            parts.append(f"passband {low_hz:.6g} to {high_hz:.6g} Hz ({origin})")
        case [_, "none"]:
            parts.append("no filter")
    points = notes.get("response_db")
    gains_db = [pair[1] for point in (points if isinstance(points, list) else []) if len(pair := _numbers(point)) > 1]
    match [gains_db, notes.get("response_origin")]:
        case [[_, *_], str() as origin]:
            parts.append(f"response varies by {max(gains_db) - min(gains_db):.1f} dB ({origin})")
        case [_, "none"]:
            parts.append("flat response")
    return ", ".join(parts)


def _numbers(value: object) -> list[float]:
    items = value if isinstance(value, list) else []
    return [number for number in map(number_of, items) if number is not None]


def number_of(value: object) -> float | None:
    """A finite number, also from text; None for anything else. True is 1."""
    if not isinstance(value, (bool, int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def mean_of(value: object) -> float | None:
    """The mean of a stored feature: of an aggregate its ``mean``, of a list its mean, of a number the number itself."""
    if isinstance(value, Mapping):
        return next((number_of(value[key]) for key in MEAN_KEYS if key in value), None)
    if isinstance(value, Sequence) and not isinstance(value, str):
        numbers = [number for number in map(number_of, value) if number is not None]
        return number_of(sum(numbers) / len(numbers)) if numbers else None
    return number_of(value)


def _receiver(content: Mapping[str, Any]) -> StoredReceiver:
    name = next((content[key] for key in NAME_KEYS if content.get(key) not in (None, "")), None)
    latitude, longitude = (
        next((number for key in keys if (number := number_of(content.get(key))) is not None), None)
        for keys in PLACE_KEYS
    )
    return StoredReceiver(None if name is None else str(name), latitude, longitude, content.get("error"), content)
