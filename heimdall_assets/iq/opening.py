"""Opening recordings: from a path or a location to samples."""

from __future__ import annotations

import math
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from heimdall_assets.errors import BadParameter, LocationRefused, RecordingError, StoreUnavailable
from heimdall_assets.iq import names, urls
from heimdall_assets.iq.formats import find_format
from heimdall_assets.iq.header import Hints
from heimdall_assets.iq.locations import locate, store_url
from heimdall_assets.iq.sources import LocalFile
from heimdall_assets.iq.urls import is_object_url
from heimdall_assets.records import IQRecording

if TYPE_CHECKING:
    import os
    from datetime import datetime
    from types import TracebackType
    from typing import Unpack

    from numpy.typing import NDArray

    from heimdall_assets.iq.sources import ByteSource
    from heimdall_assets.settings import Settings

PIECE = 1 << 20
"""Samples that are read at once, so that a long read needs little more memory than its result."""


class IQFile:
    """An open recording: its header is read, its samples are not. A context manager.

    Attributes
    ----------
    format : str
        npy, kiwi, cf32, ...
    num_samples : int
        Complex samples in the whole file.
    sample_rate_hz, center_frequency_hz : float or None
        From the header, else from the hints, else from the file's name; None where none of them says.
    start_time : datetime or None
        UTC time of the first sample, from the header, else from the name.
    modified_at : datetime or None
        UTC of the file's last change, where its store knows it.
    missing_samples, steady_samples, remarks
        As of :class:`~heimdall_assets.iq.header.Header`; the remarks name what is unknown, too.
    size_bytes : int
        Size of the file, or of the files together.
    etag : str
        Changes when a file does.
    """

    def __init__(self, source: ByteSource, hints: Hints) -> None:
        try:
            header = find_format(source, hints).read_header(source, hints)
        except BaseException:
            source.close()
            raise
        self._sources = (source, *header.others)
        self._read = header.read
        self.format = header.format
        self.num_samples = header.num_samples
        named = names.parse(source.name)
        self.sample_rate_hz: float | None = header.sample_rate_hz or hints.get("sample_rate_hz") or named.sample_rate_hz
        # "48kHz" in the name of a recording at 48 kHz is that rate.
        named_hz = named.center_frequency_hz if named.center_frequency_hz != header.sample_rate_hz else None
        self.center_frequency_hz: float | None = (
            header.center_frequency_hz or hints.get("center_frequency_hz") or named_hz
        )
        self.start_time: datetime | None = header.start_time or named.start_time
        self.modified_at = source.modified_at
        self.missing_samples = header.missing_samples
        self.steady_samples = header.steady_samples
        self.remarks = header.remarks
        if self.center_frequency_hz is None:
            self.remarks += ("the centre frequency is unknown: neither header nor name states it",)
        if self.start_time is None and named.zoneless_time is not None:
            self.remarks += (f"the name states {named.zoneless_time} without a zone: no start time is taken from it",)
        self.size_bytes = sum(each.size_bytes for each in self._sources)
        self.etag = "+".join(sorted(each.etag for each in self._sources))

    def read(self, start: int, count: int, *, writable: bool = True) -> NDArray[np.complex64]:
        """Samples [start, start + count); fewer, or none, at the end of the file.

        Parameters
        ----------
        start, count : int
            In samples, at least 0.
        writable : bool
            False where the array will not be written to: then what is stored as complex64 is not copied.

        Returns
        -------
        ndarray of complex64, shape (m,)
            m <= count. Only the bytes of these samples are read (of KiwiSDR files: the blocks that hold them).

        Raises
        ------
        BadParameter
            start or count is negative or no integer.
        RecordingError
            The samples cannot be read.
        """
        try:
            start, count = operator.index(start), operator.index(count)
        except TypeError as error:
            raise BadParameter(f"{start=} and {count=} must be integers") from error
        if start < 0 or count < 0:
            raise BadParameter(f"{start=} and {count=} must not be negative")
        stop = min(start + count, self.num_samples)
        if stop <= start:
            return np.empty(0, np.complex64)
        if stop - start <= PIECE:
            return np.require(self._read(start, stop - start), requirements="W" if writable else None)
        samples = np.empty(stop - start, np.complex64)
        for at in range(start, stop, PIECE):
            end = min(at + PIECE, stop)
            samples[at - start : end - start] = self._read(at, end - at)
        return samples

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        for source in self._sources:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_iq(path_or_url: str | os.PathLike[str], **hints: Unpack[Hints]) -> IQFile:
    """Open a recording that a person named; any readable file or URL is allowed.

    Parameters
    ----------
    path_or_url : str or path
        A file, or a URL in fsspec's notation: ``file:///path``, ``zip://member::archive``, ``s3://bucket/key``,
        ``gs://``, ``az://``, ``memory://name`` and whatever else there is a package installed for.
    **hints
        ``format``, ``sample_rate_hz``, ``center_frequency_hz``, ``max_bytes``, ``ahead_bytes``: see
        :class:`~heimdall_assets.iq.header.Hints`.

    Returns
    -------
    IQFile
        To be closed, or used in a ``with`` statement.

    Raises
    ------
    RecordingError
        It cannot be opened, or is no recording that can be read.
    BadParameter
        A hint is outside its range.

    Examples
    --------
    >>> with open_iq("20171127T104156Z_77500_DF0KL_iq.wav") as recording:  # doctest: +SKIP
    ...     first_second = recording.read(0, round(recording.sample_rate_hz))
    >>> with open_iq("zip://session/rx.sigmf-meta::/srv/archive/2024.zip") as recording:  # doctest: +SKIP
    ...     samples = recording.read(0, 4096)
    """
    checked = _checked(hints)
    return IQFile(open_source(path_or_url, checked.get("max_bytes"), ahead_bytes=checked.get("ahead_bytes")), checked)


def open_source(
    place: str | os.PathLike[str],
    max_bytes: int | None = None,
    settings: Settings | None = None,
    *,
    ahead_bytes: int | None = None,
) -> ByteSource:
    """Open what a trusted path or URL names, as bytes; errors are those of :func:`open_iq`.

    Settings are those of the environment where none are given; only object stores need them. A kind of store that is
    to be read without fsspec is one more class of :class:`ByteSource` and one branch here.
    """
    if not isinstance(place, str) or not urls.is_url(place):
        return LocalFile(Path(place), max_bytes)
    scheme = urls.url_scheme(place)
    if scheme is not None and len(scheme) == 1:
        return LocalFile(Path(place), max_bytes)  # the letter of a drive, or a file called so
    if scheme is not None and "://" not in place:
        raise LocationRefused(f"{place!r} is refused: {scheme}: locations are not served")
    if scheme == "file":
        return LocalFile(Path(urls.file_path(place)), max_bytes)
    if scheme == "zip":
        from heimdall_assets.iq import zipped  # noqa: PLC0415  # zipfile, only for archives

        member, archive = urls.zip_parts(place)
        # The limit is the recording's: an archive of many recordings may be larger.
        return zipped.open_member(open_source(archive, None, settings), member, max_bytes)
    if is_object_url(place):
        from heimdall_assets.iq import objects  # noqa: PLC0415  # obstore, only for its URLs
        from heimdall_assets.settings import load_settings  # noqa: PLC0415  # paths need none

        return objects.open_object(place, settings or load_settings(), max_bytes, ahead_bytes or 0)
    from heimdall_assets.iq import stores  # noqa: PLC0415  # fsspec, only for URLs

    return stores.open_url(place, max_bytes)


def load_iq(path_or_url: str | os.PathLike[str], **hints: Unpack[Hints]) -> IQRecording:
    """Read a whole recording into memory; parameters and errors are those of :func:`open_iq`."""
    with open_iq(path_or_url, **hints) as recording:
        return IQRecording(
            samples=recording.read(0, recording.num_samples),
            sample_rate_hz=recording.sample_rate_hz,
            center_frequency_hz=recording.center_frequency_hz,
            start_time=recording.start_time,
            format=recording.format,
        )


def open_location(
    location: str, settings: Settings, noted: dict[str, tuple[int, str]] | None = None, **hints: Unpack[Hints]
) -> IQFile:
    """Open the recording behind an ``iq_data_location``, which is not trusted.

    Parameters
    ----------
    location : str
        See :func:`~heimdall_assets.iq.locations.resolve_location` and
        :func:`~heimdall_assets.iq.locations.store_url`.
    settings : Settings
        Its root, extra roots and ``max_object_bytes`` hold.
    noted : dict, optional
        What :func:`identify` says of the object is put down here, also where it then cannot be read.
    **hints
        As of :func:`open_iq`; a smaller ``max_bytes`` holds too.

    Raises
    ------
    LocationRefused
        The location leads out of the roots, or its scheme is not served.
    StoreUnavailable
        The root cannot be reached, or the package that speaks to its store is not installed.
    RecordingError
        As :func:`open_iq`.
    """
    checked = _checked(hints)
    limit = min(settings.max_object_bytes, checked.get("max_bytes") or settings.max_object_bytes)
    checked["max_bytes"] = limit
    source = _located(location, settings, limit, checked.get("ahead_bytes"))
    if noted is not None:
        noted[location] = source.size_bytes, source.etag
    return IQFile(source, checked)


def identify(location: str, settings: Settings) -> tuple[int, str] | None:
    """Size and etag of the object at an ``iq_data_location``; its content is not looked at.

    Returns
    -------
    tuple of (int, str) or None
        Bytes and etag, which changes when the object does; None where there is no object that may be read.

    Raises
    ------
    StoreUnavailable
        Whether there is one cannot be told: the store does not answer.
    """
    try:
        url = store_url(location, settings.resolved_iq_root, settings.iq_extra_roots)
        if url is not None and is_object_url(url):
            from heimdall_assets.iq import objects  # noqa: PLC0415  # obstore, only for its URLs

            return objects.identity_of(url, settings)
        source = _located(location, settings, None)
    except StoreUnavailable:
        raise
    except RecordingError:
        return None
    try:
        return source.size_bytes, source.etag
    finally:
        source.close()


def is_in_store(location: str, settings: Settings) -> bool:
    """Whether an ``iq_data_location`` names an object of a store; False for one that is refused when it is opened."""
    try:
        return store_url(location, settings.resolved_iq_root, settings.iq_extra_roots) is not None
    except RecordingError:
        return False


def _located(location: str, settings: Settings, max_bytes: int | None, ahead_bytes: int | None = None) -> ByteSource:
    """The object at an ``iq_data_location``, below a root that is a store or a folder."""
    root, extra_roots = settings.resolved_iq_root, settings.iq_extra_roots
    url = store_url(location, root, extra_roots)
    if url is not None:
        return open_source(url, max_bytes, settings, ahead_bytes=ahead_bytes)
    path, roots = locate(location, root, extra_roots)
    return LocalFile(path, max_bytes, roots)


def _checked(hints: Hints) -> Hints:
    """The hints, their names and ranges checked."""
    unknown = set(hints) - set(Hints.__annotations__)
    if unknown:
        raise TypeError(f"unknown hints: {', '.join(sorted(unknown))}")
    for name in ("sample_rate_hz", "center_frequency_hz", "max_bytes", "ahead_bytes"):
        value = hints.get(name)
        if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
            raise BadParameter(f"{name}={value!r} must be a positive number")
    return hints
