"""SigMF metadata: what a ``.sigmf-meta`` says that reading samples needs.

The text is untrusted: its size is limited, it is parsed as JSON, and the fields that count are checked by the schema
of the ``sigmf`` library (SigMF specification 1.2). Extensions and annotations are not looked at.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from sigmf import __specification__ as version  # type: ignore[import-untyped]
from sigmf import keys
from sigmf.schema import get_schema  # type: ignore[import-untyped]
from sigmf.sigmffile import dtype_info  # type: ignore[import-untyped]

from heimdall_assets.errors import MalformedRecording, UnknownFormat
from heimdall_assets.iq.instants import utc_of
from heimdall_assets.iq.samples import Encoding

FACTS = {
    keys.DATATYPE_KEY, keys.SAMPLE_RATE_KEY, keys.NUM_CHANNELS_KEY, keys.OFFSET_KEY, keys.DATASET_KEY,
    keys.TRAILING_BYTES_KEY,
}  # fmt: skip
CAPTURE = {keys.SAMPLE_START_KEY, keys.FREQUENCY_KEY, keys.DATETIME_KEY, keys.HEADER_BYTES_KEY}
"""Fields of the recording, and of its first capture, that are looked at and checked."""
DATATYPE = re.compile(r"[cr](?:[fiu]32|f64|[iu]16|[iu]8)(?:_[lb]e)?")
MAX_DATETIME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Metadata:
    """Encoding of the samples, and the first capture's facts.

    Attributes
    ----------
    sample_rate_hz, center_frequency_hz : float or None
        None where the metadata does not say.
    start_time : datetime or None
        UTC of the first sample of the file.
    steady_samples : int or None
        Samples of the file before the first capture on another frequency; None where there is none.
    """

    encoding: Encoding
    sample_rate_hz: float | None
    center_frequency_hz: float | None
    start_time: datetime | None
    steady_samples: int | None = None


def parse(raw: bytes, name: str) -> Metadata:
    """Parse the content of a ``.sigmf-meta``.

    Later captures may be tuned elsewhere: the first one's values hold up to there.

    Parameters
    ----------
    raw : bytes
        JSON text.
    name : str
        The file's, for messages.

    Raises
    ------
    MalformedRecording
        It is no JSON, or against SigMF's schema.
    UnknownFormat
        The samples are real, of several channels, or in a file of a foreign format (non-conforming dataset).
    """
    try:
        document = json.loads(raw, parse_constant=_refuse_constant)
        facts = {key: value for key, value in document["global"].items() if key in FACTS}
        captures = document.get("captures") or [{keys.SAMPLE_START_KEY: 0}]
        first = captures[0]
        capture = {key: value for key, value in first.items() if key in CAPTURE}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise MalformedRecording(f"{name} is no SigMF metadata: {type(error).__name__}: {error}") from error
    _check_schema(facts, capture, name)
    if facts.get(keys.NUM_CHANNELS_KEY, 1) != 1:
        raise UnknownFormat(f"{name} describes {facts[keys.NUM_CHANNELS_KEY]} channels; one is read")
    if keys.DATASET_KEY in facts or facts.get(keys.TRAILING_BYTES_KEY) or capture.get(keys.HEADER_BYTES_KEY):
        raise UnknownFormat(f"{name} describes a non-conforming dataset, which is not read")
    rate = _finite(facts.get(keys.SAMPLE_RATE_KEY))
    offset = facts.get(keys.OFFSET_KEY, 0)
    return Metadata(
        encoding=_encoding(facts[keys.DATATYPE_KEY], name),
        sample_rate_hz=rate,
        center_frequency_hz=_finite(capture.get(keys.FREQUENCY_KEY)),
        start_time=_start_time(capture.get(keys.DATETIME_KEY), capture[keys.SAMPLE_START_KEY] - offset, rate),
        steady_samples=_steady_samples(captures[1:], capture.get(keys.FREQUENCY_KEY), offset),
    )


def _steady_samples(later: list[Any], first_hz: float | None, offset: int) -> int | None:
    """Where in the file the first capture on another frequency begins; captures that say nothing sensible are none."""
    begins = [
        capture[keys.SAMPLE_START_KEY] - offset
        for capture in later
        if isinstance(capture, dict)
        and type(capture.get(keys.SAMPLE_START_KEY)) is int
        and isinstance(capture.get(keys.FREQUENCY_KEY), (int, float))
        and capture[keys.FREQUENCY_KEY] != first_hz
    ]
    return max(0, min(begins)) if begins and first_hz is not None else None


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def _check_schema(facts: dict[str, Any], capture: dict[str, Any], name: str) -> None:
    stated = capture.get(keys.DATETIME_KEY)
    if isinstance(stated, str) and len(stated) > MAX_DATETIME_CHARACTERS:
        raise MalformedRecording(f"{name} states a time of {len(stated)} characters")
    # Which version wrote a file does not matter to these fields, so that a missing or odd one does no harm.
    document = {"global": {**facts, keys.VERSION_KEY: version}, "captures": [capture], "annotations": []}
    for error in _validator().iter_errors(document):
        where = ".".join(str(part) for part in error.absolute_path)
        raise MalformedRecording(f"{name} is against SigMF's schema at {where}: {error.message[:200]}")


@cache
def _validator() -> Draft202012Validator:
    """SigMF's schema, prepared once: the library's own ``validate`` does so every time, which takes 12 ms."""
    return Draft202012Validator(get_schema())


def _encoding(datatype: str, name: str) -> Encoding:
    """Encoding of a SigMF datatype such as cf32_le; the integers are scaled like those of raw files."""
    # The schema's pattern is not anchored at the end, and the library fails in several ways over what it lets pass.
    if not DATATYPE.fullmatch(datatype):
        raise MalformedRecording(f"{name} states the datatype {datatype[:64]!r}, which SigMF does not have")
    info = dtype_info(datatype)
    if not info["is_complex"]:
        raise UnknownFormat(f"{name} describes real samples ({datatype}); IQ is complex")
    component = info["component_dtype"].newbyteorder(">" if datatype.endswith("_be") else "<")
    if not info["is_fixedpoint"]:
        return Encoding(f"{component.str[0]}c{2 * component.itemsize}")
    half = 2.0 ** (8 * component.itemsize - 1)
    if info["is_unsigned"]:
        return Encoding(component.str, full_scale=half - 0.5, midpoint=half - 0.5)
    return Encoding(component.str, full_scale=half)


def _finite(value: float | None) -> float | None:
    """A positive number, or None."""
    return float(value) if value is not None and math.isfinite(value) and value > 0 else None


def _start_time(stated: str | None, samples_before: int, rate_hz: float | None) -> datetime | None:
    """UTC of the file's first sample from that of the first capture; None where it cannot be told."""
    if stated is None:
        return None
    time = utc_of(stated)
    if time is None or samples_before == 0:
        return time
    try:
        return time - timedelta(seconds=samples_before / rate_hz) if rate_hz else None
    except OverflowError:
        return None
