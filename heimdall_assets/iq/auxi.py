"""The ``auxi`` chunk, in which SDR recorders put frequency and time beside the samples of a WAV file.

Two shapes exist. SpectraVue, HDSDR, SDR#, SDRuno and SDRangel write a structure: SYSTEMTIME of the start,
SYSTEMTIME of the stop, then 32-bit centre frequency, ADC rate, ... (the struct stands in SDRangel's
``sdrbase/dsp/wavfilerecord.h``). SDR Console writes XML, in UTF-16, with RadioCenterFreq and UTCSeconds.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime

CENTER = re.compile(r'RadioCenterFreq="(\d{1,12})"')
SECONDS = re.compile(r'UTCSeconds="(\d{1,11})"')
STRUCT_BYTES = 36
WRAP_HZ = 2.0**32
ROUNDED_HZ = 1000.0
"""Names may state whole kHz."""


@dataclass(frozen=True, slots=True)
class Auxi:
    """What the chunk states; None where it does not, or states nonsense."""

    center_frequency_hz: float | None = None
    start_time: datetime | None = None


def parse(raw: bytes) -> Auxi:
    """Parse the body of an ``auxi`` chunk.

    SYSTEMTIME has no zone; it is taken as UTC, which HDSDR and SDRuno write.
    """
    for text in (raw.decode("latin-1"), raw.decode("utf-16-le", "replace")):
        if "SDR-XML-Root" in text:
            center, seconds = CENTER.search(text), SECONDS.search(text)
            return Auxi(float(center[1]) or None if center else None, _epoch(int(seconds[1])) if seconds else None)
    if len(raw) < STRUCT_BYTES:
        return Auxi()
    (center_hz,) = struct.unpack_from("<I", raw, 32)
    return Auxi(float(center_hz) or None, _system_time(raw))


def unwrapped(stated_hz: float | None, elsewhere_hz: float | None) -> float | None:
    """The centre frequency beyond 32 bits, where a name or a hint differs from the chunk by a multiple of 2^32 Hz."""
    if stated_hz is None or elsewhere_hz is None:
        return stated_hz
    wraps_hz = max(0, round((elsewhere_hz - stated_hz) / WRAP_HZ)) * WRAP_HZ
    return stated_hz + wraps_hz if abs(elsewhere_hz - stated_hz - wraps_hz) <= ROUNDED_HZ else stated_hz


def _epoch(seconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError):
        return None


def _system_time(raw: bytes) -> datetime | None:
    year, month, _, day, hour, minute, second, millisecond = struct.unpack_from("<8H", raw)
    try:
        return datetime(year, month, day, hour, minute, second, millisecond * 1000, UTC)
    except ValueError:
        return None
