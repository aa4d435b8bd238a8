"""What is known of recordings apart from their samples: ``stations.json``, or nothing but a file's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from heimdall_assets.errors import LocationRefused, MalformedRecording, RecordingNotFound
from heimdall_assets.ingest.document import MAX_NAME, Entry, read_document, shown
from heimdall_assets.records import KnownSource, Station

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from heimdall_assets.ingest.places import Place

STATIONS_FILE = "stations.json"
MAX_STATIONS_BYTES = 10 << 20
MAX_PATH = 1024
MAX_SOURCE_TYPE = 100
MAX_RATE_HZ = 2.0**31 - 1
"""The column is an integer of 32 bits."""
MAX_FREQUENCY_HZ = 1e15
MAX_POWER_DBM = 300.0
MAX_ALTITUDE_M = 1e6


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
    is_named: bool = False
    """The name is stated, not only the folder's or the file's."""


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
    document = read_document(place, MAX_STATIONS_BYTES)
    known = document.entry("known_source")
    name = document.text("name", longest=MAX_STATIONS_BYTES)
    described = Description(
        name=name or folder.name,
        started_at=document.time("session_start"),
        center_frequency_hz=_frequency(document, "center_frequency_hz"),
        sample_rate_hz=document.number("sample_rate_hz", 1.0, MAX_RATE_HZ),
        known_source=None if known is None else _known_source(known),
        receivers=tuple((_station(entry), folder.child(_file(entry))) for entry in document.entries("receivers")),
        is_named=name is not None,
    )
    names = [station.name for station, _ in described.receivers]
    if twice := [name for name in names if names.count(name) > 1]:
        raise MalformedRecording(f"{place} names receiver {shown(twice[0])} twice")
    return described


def _known_source(entry: Entry) -> KnownSource:
    entry.require("name", "latitude", "longitude")
    latitude, longitude = _place(entry)
    frequency_hz = _frequency(entry, "frequency_hz")
    return KnownSource(
        name=entry.text("name") or "",
        latitude=latitude or 0.0,
        longitude=longitude or 0.0,
        frequency_hz=None if frequency_hz is None else round(frequency_hz),
        power_dbm=entry.number("power_dbm", -MAX_POWER_DBM, MAX_POWER_DBM),
        source_type=entry.text("source_type", longest=MAX_SOURCE_TYPE),
    )


def _station(entry: Entry) -> Station:
    entry.require("name")
    latitude, longitude = _place(entry)
    if (latitude is None) != (longitude is None):
        raise MalformedRecording(f"{entry.document}: {entry.path} has latitude or longitude alone: both, or neither")
    altitude_m = entry.number("altitude_asl", -MAX_ALTITUDE_M, MAX_ALTITUDE_M)
    return Station(entry.text("name") or "", latitude, longitude, altitude_m)


def _place(entry: Entry) -> tuple[float | None, float | None]:
    return entry.number("latitude", -90.0, 90.0), entry.number("longitude", -180.0, 180.0)


def _frequency(entry: Entry, key: str) -> float | None:
    return entry.number(key, 1.0, MAX_FREQUENCY_HZ)


def _file(entry: Entry) -> str:
    """Name of a receiver's file; a description that came from elsewhere must not lead to other files of the machine."""
    entry.require("file")
    name = entry.text("file", longest=MAX_PATH) or ""
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise LocationRefused(f"{entry.document} names {shown(name)}, which lies outside of its folder")
    return name
