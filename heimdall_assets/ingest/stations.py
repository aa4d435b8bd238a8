"""What is known of recordings apart from their samples: ``stations.json``, or nothing but a file's name."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from heimdall_assets.errors import LocationRefused, MalformedRecording, RecordingNotFound
from heimdall_assets.records import KnownSource, Station

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heimdall_assets.ingest.places import Place

STATIONS_FILE = "stations.json"
MAX_STATIONS_BYTES = 10 << 20
MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a session apart from its files."""

    name: str
    started_at: datetime | None
    center_frequency_hz: float | None
    sample_rate_hz: float | None
    known_source: KnownSource | None
    receivers: tuple[tuple[Station, Place], ...]
    is_anonymous: bool = False
    """Nothing is known of the receiver: its name is only the file's."""


def expanded(place: Place) -> Sequence[Place]:
    """The recordings that a place names: a folder of session folders is one session each."""
    if not place.is_folder() or place.child(STATIONS_FILE).is_file():
        return [place]
    return [folder for folder in place.folders() if folder.child(STATIONS_FILE).is_file()] or [place]


def describe(place: Place, stations_file: Place | None) -> Description:
    """What is known of the recording at a place.

    Raises
    ------
    RecordingError
        There is nothing at the place, or its description is malformed or names files elsewhere.
    """
    if place.is_folder():
        return _read_stations(place.child(STATIONS_FILE), place)
    if not place.exists():
        raise RecordingNotFound(f"{place} does not exist")
    stem = PurePath(place.name).stem
    if stations_file is not None:
        if not stations_file.is_file():
            raise RecordingNotFound(f"{stations_file} does not exist")
        described = _read_stations(stations_file, place.parent())
        mine = tuple(entry for entry in described.receivers if entry[1].name == place.name)
        if not mine:
            raise MalformedRecording(f"{stations_file} does not describe {place.name}")
        return Description(
            stem,
            described.started_at,
            described.center_frequency_hz,
            described.sample_rate_hz,
            described.known_source,
            ((mine[0][0], place),),
        )
    station = Station(f"file:{stem}"[:MAX_NAME], None, None)
    return Description(stem, None, None, None, None, ((station, place),), is_anonymous=True)


def _read_stations(place: Place, folder: Place) -> Description:
    if not place.is_file():
        raise RecordingNotFound(f"{folder} holds no {STATIONS_FILE}")
    source = place.open(MAX_STATIONS_BYTES)
    try:
        text = source.read_at(0, source.size_bytes)
    finally:
        source.close()
    try:
        document = json.loads(text.decode("utf-8"))
        known = document.get("known_source")
        start = document.get("session_start")
        described = Description(
            name=str(document.get("name") or folder.name),
            started_at=_utc(datetime.fromisoformat(start)) if start else None,
            center_frequency_hz=_positive(document, "center_frequency_hz"),
            sample_rate_hz=_positive(document, "sample_rate_hz"),
            known_source=None if known is None else _known_source(known),
            receivers=tuple((_station(entry), folder.child(_file(entry, place))) for entry in document["receivers"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedRecording(f"{place}: {type(error).__name__}: {error}") from error
    names = [station.name for station, _ in described.receivers]
    if twice := [name for name in names if names.count(name) > 1]:
        raise MalformedRecording(f"{place} names receiver {twice[0]!r} twice")
    return described


def _known_source(entry: Mapping[str, Any]) -> KnownSource:
    frequency_hz = _positive(entry, "frequency_hz")
    return KnownSource(
        name=_name(entry, "known source"),
        latitude=float(entry["latitude"]),
        longitude=float(entry["longitude"]),
        frequency_hz=None if frequency_hz is None else round(frequency_hz),
        power_dbm=_number(entry, "power_dbm"),
        source_type=entry.get("source_type"),
    )


def _station(entry: Mapping[str, Any]) -> Station:
    return Station(
        _name(entry, "receiver"),
        _number(entry, "latitude"),
        _number(entry, "longitude"),
        _number(entry, "altitude_asl"),
    )


def _file(entry: Mapping[str, Any], described_in: Place) -> str:
    """Name of a receiver's file; a description that came from elsewhere must not lead to other files of the machine."""
    name = str(entry["file"])
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise LocationRefused(f"{described_in} names {name!r}, which lies outside of its folder")
    return name


def _name(entry: Mapping[str, Any], whose: str) -> str:
    name = str(entry["name"])
    if not 1 <= len(name) <= MAX_NAME:
        raise ValueError(f"the name of a {whose} has 1 to {MAX_NAME} characters, not {len(name)}")
    return name


def _number(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{key}={number} is not allowed: a finite number")
    return number


def _positive(entry: Mapping[str, Any], key: str) -> float | None:
    number = _number(entry, key)
    if number is not None and number <= 0:
        raise ValueError(f"{key}={number} is not allowed: a number above 0")
    return number


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
