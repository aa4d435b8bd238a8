"""What a format's module takes and gives: hints, the header that it read, and its entry in the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from heimdall_assets.iq.sources import ByteSource


class Hints(TypedDict, total=False):
    """What is known of a recording from elsewhere: options of a command, or its measurement.

    Sample rate and centre frequency are the header's, else the hint's, else those that the file's name states. The
    start time is the header's, else the name's. The format comes from content, else from the hint, the suffix, or the
    form of the name. What none of them says stays None, and a caller that assumes a value says so.

    Attributes
    ----------
    format : str or None
        Used where the content does not decide.
    sample_rate_hz, center_frequency_hz : float or None
        Used where the header does not say.
    max_bytes : int or None
        Larger files are refused.
    ahead_bytes : int or None
        So many bytes of samples are going to be read from the start: an object store sends them with the header.
    """

    format: str | None
    sample_rate_hz: float | None
    center_frequency_hz: float | None
    max_bytes: int | None
    ahead_bytes: int | None


@dataclass(frozen=True, slots=True)
class Header:
    """What a reader learned without reading samples.

    Attributes
    ----------
    format : str
        Name of the format.
    num_samples : int
        Complex samples in the whole file, at least 1; checked against the file's size.
    read : callable
        ``read(start, count)`` returns exactly those samples as a new complex64 array, shape (count,); called only
        with ranges inside of [0, num_samples).
    sample_rate_hz, center_frequency_hz : float or None
        None where the header does not say; names are not looked at here.
    start_time : datetime or None
        UTC time of the first sample, likewise.
    missing_samples : int
        Samples that the header announces and the file does not hold: it was cut.
    steady_samples : int or None
        Samples before the receiver was tuned to another frequency; None where it never was.
    remarks : tuple of str
        What was passed over or assumed, a phrase each.
    others : tuple of ByteSource
        Further sources that were opened for reading; closed with the first, and part of its size and etag.
    """

    format: str
    num_samples: int
    read: Callable[[int, int], NDArray[np.complex64]]
    sample_rate_hz: float | None = None
    center_frequency_hz: float | None = None
    start_time: datetime | None = None
    missing_samples: int = 0
    steady_samples: int | None = None
    remarks: tuple[str, ...] = ()
    others: tuple[ByteSource, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """A file format, as the registry knows it.

    Attributes
    ----------
    name : str
        As in ``--format`` and ``iq_data_format``.
    description : str
        One line for tables.
    read_header : callable
        From an open source to its header; raises RecordingError, nothing else.
    suffixes : tuple of str
        Lower case, with the dot; used only where the content does not decide.
    aliases : tuple of str
        Other names for the same format.
    recognizes : callable or None
        Whether content is of this format, from the source and its first bytes. None for formats without a header,
        which only a hint or a suffix can tell.
    """

    name: str
    description: str
    read_header: Callable[[ByteSource, Hints], Header]
    suffixes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    recognizes: Callable[[ByteSource, bytes], bool] | None = None
