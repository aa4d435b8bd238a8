"""The files of a recording: what their headers say, what they are called by, and bringing them under the IQ root."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heimdall_assets.errors import (
    MalformedRecording,
    RecordingError,
    RecordingNotFound,
    SettingError,
    StoreUnavailable,
    UnknownFormat,
)
from heimdall_assets.iq import open_iq

if TYPE_CHECKING:
    from datetime import datetime

    from heimdall_assets.records import Station
    from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)

INGESTED_FOLDER = "ingested"
COPY_BUFFER = 1 << 20
SIGMF_PAIR = (".sigmf-meta", ".sigmf-data")


@dataclass(frozen=True, slots=True)
class Probed:
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


def _require_text(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise MalformedRecording(f"the name of {str(path)!a} is not UTF-8") from error


def probe(station: Station, path: Path, sample_rate_hz: float | None, settings: Settings) -> Probed:
    """Read a file's header and digest.

    A file that is damaged is registered all the same: that a receiver delivered rubbish is part of the session.
    """
    _require_text(path)
    try:
        with open_iq(path, sample_rate_hz=sample_rate_hz, max_bytes=settings.max_object_bytes) as recording:
            return Probed(
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
        return Probed(station, path, _digest(path), suffix, sample_rate_hz, None, None, None, warning)


def duration_s(probed: Probed, settings: Settings) -> float | None:
    """Duration of a recording in s; None for one that cannot be read."""
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


def writable_root(settings: Settings) -> Path:
    """The IQ root, made where it is missing.

    Raises
    ------
    SettingError
        It is a URL, or cannot be made.
    """
    root = settings.resolved_iq_root
    if "://" in root:
        raise SettingError(f"HEIMDALL_IQ_ROOT={root}: recordings can be ingested into a folder only")
    path = Path(root).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"HEIMDALL_IQ_ROOT={root} cannot be made: {error.strerror}") from error
    return path.resolve()


def place(probed: Probed, root: Path) -> str:
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
