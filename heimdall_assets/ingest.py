"""Registering recordings that come as files: a folder with ``stations.json``, or single files.

What a session is called by is its content: the same receivers with the same bytes are the same session, so
repeating an ingest adds nothing, whatever the files are called and wherever they lie.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heimdall_assets.db.engine import transaction
from heimdall_assets.db.registration import NewMeasurement, NewSession, register_session
from heimdall_assets.db.sessions import load_session
from heimdall_assets.errors import (
    HeimdallError,
    MalformedRecording,
    RecordingError,
    RecordingNotFound,
    SettingError,
    StoreUnavailable,
    UnknownFormat,
    UnknownSession,
)
from heimdall_assets.iq import open_iq
from heimdall_assets.records import KnownSource, Station

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)

NAMESPACE = uuid.UUID("6f0f5d2e-7f0b-5c55-9a5e-1d0f6f7a2c11")
"""Of the name-based UUIDs of ingested sessions."""

STATIONS_FILE = "stations.json"
INGESTED_FOLDER = "ingested"
COPY_BUFFER = 1 << 20
MAX_NAME = 255
MAX_RATE_HZ = 2.0**31 - 1
SIGMF_PAIR = (".sigmf-meta", ".sigmf-data")


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one recording.

    Attributes
    ----------
    path : str
        As given.
    session_id : UUID or None
        None where it was refused.
    is_new : bool
        False where the same content was there already.
    num_measurements : int
        Receivers.
    warnings : tuple of str
        Files that are registered although they cannot be read as they are.
    error : HeimdallError or None
        Why it was refused.
    """

    path: str
    session_id: uuid.UUID | None
    is_new: bool = False
    num_measurements: int = 0
    warnings: tuple[str, ...] = ()
    error: HeimdallError | None = None


@dataclass(frozen=True, slots=True)
class _Description:
    """What is known of a session apart from its files."""

    name: str
    started_at: datetime | None
    center_frequency_hz: float | None
    sample_rate_hz: float | None
    known_source: KnownSource | None
    receivers: tuple[tuple[Station, Path], ...]
    is_anonymous: bool = False
    """Nothing is known of the receiver: its name is only the file's."""


def ingest(
    paths: Sequence[Path], engine: Engine, settings: Settings, *, stations_file: Path | None = None
) -> Iterator[Ingested]:
    """Register recordings, one session each, and yield what became of them in order.

    Parameters
    ----------
    paths : sequence of Path
        A folder with ``stations.json`` is a session; a folder of such folders is one session each; any other file
        is a session of one receiver.
    engine : Engine
        Heimdall's database.
    settings : Settings
        Files outside its IQ root are copied into it.
    stations_file : Path, optional
        A ``stations.json`` that describes the given files; its ``file`` entries name them.

    Yields
    ------
    Ingested
        One at a time; each is committed before it is yielded.

    Raises
    ------
    DatabaseError
        The database is away or is another one.
    SettingError
        The IQ root is no folder.
    """
    root = _writable_root(settings)
    for path in _expanded(paths):
        try:
            description = _describe(path, stations_file)
            yield _ingest_one(str(path), description, engine, settings, root)
        except RecordingError as error:
            yield Ingested(str(path), None, error=error)


def _expanded(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir() and not (path / STATIONS_FILE).is_file():
            inner = sorted(child.parent for child in path.glob(f"*/{STATIONS_FILE}"))
            yield from inner or [path]
        else:
            yield path


def _describe(path: Path, stations_file: Path | None) -> _Description:
    if path.is_dir():
        return _read_stations(path / STATIONS_FILE, path)
    if not path.exists():
        raise RecordingNotFound(f"{path} does not exist")
    if stations_file is not None:
        if not stations_file.is_file():
            raise RecordingNotFound(f"{stations_file} does not exist")
        described = _read_stations(stations_file, path.parent)
        mine = tuple(entry for entry in described.receivers if entry[1].name == path.name)
        if not mine:
            raise MalformedRecording(f"{stations_file} does not describe {path.name}")
        return _Description(
            path.stem,
            described.started_at,
            described.center_frequency_hz,
            described.sample_rate_hz,
            described.known_source,
            ((mine[0][0], path),),
        )
    station = Station(f"file:{path.stem}"[:MAX_NAME], None, None)
    return _Description(path.stem, None, None, None, None, ((station, path),), is_anonymous=True)


def _read_stations(path: Path, folder: Path) -> _Description:
    if not path.is_file():
        raise RecordingNotFound(f"{folder} holds no {STATIONS_FILE}")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        source = document.get("known_source")
        start = document.get("session_start")
        described = _Description(
            name=str(document.get("name") or folder.name),
            started_at=_utc(datetime.fromisoformat(start)) if start else None,
            center_frequency_hz=_positive(document, "center_frequency_hz"),
            sample_rate_hz=_positive(document, "sample_rate_hz"),
            known_source=None if source is None else _known_source(source),
            receivers=tuple((_station(entry), folder / str(entry["file"])) for entry in document["receivers"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedRecording(f"{path}: {type(error).__name__}: {error}") from error
    names = [station.name for station, _ in described.receivers]
    if twice := [name for name in names if names.count(name) > 1]:
        raise MalformedRecording(f"{path} names receiver {twice[0]!r} twice")
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


@dataclass(frozen=True, slots=True)
class _Probed:
    """A receiver's file: its digest, and what its header says where it can be read."""

    station: Station
    path: Path
    digest: str
    format: str
    sample_rate_hz: float | None
    center_frequency_hz: float | None
    start_time: datetime | None
    num_samples: int | None
    warning: str | None


def _ingest_one(path: str, description: _Description, engine: Engine, settings: Settings, root: Path) -> Ingested:
    if not description.receivers:
        raise MalformedRecording(f"{path} names no receivers")
    for _, file in description.receivers:
        _require_text(file)
    probed = [_probe(station, file, description, settings) for station, file in description.receivers]
    warnings = tuple(p.warning for p in probed if p.warning)
    names = {p.station.name: "" if description.is_anonymous else p.station.name for p in probed}
    content = "\n".join(f"{names[p.station.name]}\0{p.digest}" for p in sorted(probed, key=lambda p: p.station.name))
    session_id = uuid.uuid5(NAMESPACE, content)
    if _is_known(engine, session_id):
        return Ingested(path, session_id, False, len(probed), warnings)
    started_at = description.started_at or min(
        (p.start_time for p in probed if p.start_time is not None),
        default=datetime.fromtimestamp(probed[0].path.stat().st_mtime, UTC),
    )
    durations = [_duration_s(p, settings) for p in probed]
    known = [duration for duration in durations if duration is not None]
    frequency_hz = description.center_frequency_hz or next(
        (p.center_frequency_hz for p in probed if p.center_frequency_hz is not None), None
    )
    session = NewSession(
        id=session_id,
        name=description.name,
        started_at=started_at,
        duration_seconds=max(known) if known else None,
        frequency_hz=None if frequency_hz is None else round(frequency_hz),
        known_source=description.known_source,
        measurements=[
            NewMeasurement(
                id=uuid.uuid5(session_id, p.station.name),
                station=p.station,
                iq_data_location=_place(p, root),
                iq_data_format=p.format,
                # The column is an integer of 32 bits; a rate beyond it stays in the file's header alone.
                sample_rate_hz=p.sample_rate_hz if (p.sample_rate_hz or 0) < MAX_RATE_HZ else None,
                num_samples=p.num_samples,
                duration_seconds=duration,
            )
            for p, duration in zip(probed, durations, strict=True)
        ],
    )
    with transaction(engine) as connection:
        is_new = register_session(connection, session)
    return Ingested(path, session_id, is_new, len(probed), warnings)


def _is_known(engine: Engine, session_id: uuid.UUID) -> bool:
    """Whether the session is registered; asked before files are copied, so that a repetition leaves none behind."""
    try:
        with transaction(engine) as connection:
            load_session(connection, session_id, source_tolerance_hz=0.0)
    except UnknownSession:
        return False
    return True


def _require_text(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise MalformedRecording(f"the name of {str(path)!a} is not UTF-8") from error


def _probe(station: Station, path: Path, description: _Description, settings: Settings) -> _Probed:
    """Read a file's header and digest.

    A file that is damaged is registered all the same: that a receiver delivered rubbish is part of the session.
    """
    hints = {"sample_rate_hz": description.sample_rate_hz, "max_bytes": settings.max_object_bytes}
    try:
        with open_iq(path, **hints) as recording:  # type: ignore[arg-type]  # the hints are typed one by one
            return _Probed(
                station=station,
                path=path,
                digest=_digest(path),
                format=recording.format,
                sample_rate_hz=recording.sample_rate_hz,
                center_frequency_hz=recording.center_frequency_hz,
                start_time=recording.start_time,
                num_samples=recording.num_samples,
                warning=None,
            )
    except (RecordingNotFound, UnknownFormat):
        raise
    except RecordingError as error:
        if not path.is_file():
            raise
        warning = f"{path.name}: {error.message}"
        logger.warning("%s", warning)
        suffix = path.suffix.lstrip(".").lower()
        return _Probed(station, path, _digest(path), suffix, description.sample_rate_hz, None, None, None, warning)


def _duration_s(probed: _Probed, settings: Settings) -> float | None:
    if probed.num_samples is None:
        return None
    return probed.num_samples / (probed.sample_rate_hz or settings.default_sample_rate_hz)


def _parts(path: Path) -> list[Path]:
    """The files that make up a recording: a SigMF pair is two, everything else one."""
    if path.suffix not in SIGMF_PAIR:
        return [path]
    return [part for suffix in SIGMF_PAIR if (part := path.with_suffix(suffix)).is_file()]


def _digest(path: Path) -> str:
    parts = []
    for part in _parts(path):
        with part.open("rb") as handle:
            parts.append(hashlib.file_digest(handle, "sha256").hexdigest())
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()


def _writable_root(settings: Settings) -> Path:
    root = settings.resolved_iq_root
    if "://" in root:
        raise SettingError(f"HEIMDALL_IQ_ROOT={root}: recordings can be ingested into a folder only")
    path = Path(root).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"HEIMDALL_IQ_ROOT={root} cannot be made: {error.strerror}") from error
    return path.resolve()


def _place(probed: _Probed, root: Path) -> str:
    """Location of a file relative to the root; copied there, under its digest, where it lies elsewhere."""
    source = probed.path.resolve()
    if source.is_relative_to(root):
        return str(source.relative_to(root))
    # The name stays as it is: recorders write frequency and time into it, and raw formats are told by suffix.
    folder = Path(INGESTED_FOLDER) / probed.digest[:2] / probed.digest[2:34]
    for part in _parts(source):
        try:
            if not (root / folder / part.name).exists():
                _copy(part, root / folder / part.name)
        except OSError as error:
            raise StoreUnavailable(f"{part} cannot be copied to {root / folder}: {error.strerror}") from error
    return str(folder / source.name)


def _copy(source: Path, target: Path) -> None:
    """Copy so that the target appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
    try:
        with os.fdopen(descriptor, "wb") as out, source.open("rb") as handle:
            shutil.copyfileobj(handle, out, COPY_BUFFER)
        Path(partial).chmod(0o644)
        # A KiwiSDR file without a date in its name takes its GPS week from its time of modification.
        status = source.stat()
        os.utime(partial, ns=(status.st_atime_ns, status.st_mtime_ns))
        Path(partial).replace(target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
