"""The registry of formats, and how a file's format is found.

A new format is one module with a :class:`~heimdall_assets.iq.header.Format` and one entry in ``FORMATS``.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from heimdall_assets.errors import EmptyRecording, UnknownFormat
from heimdall_assets.iq import kiwi, names, npy, raw, sigmf, wav

if TYPE_CHECKING:
    from heimdall_assets.iq.header import Format, Hints
    from heimdall_assets.iq.sources import ByteSource

FORMATS: tuple[Format, ...] = (npy.FORMAT, kiwi.FORMAT, wav.FORMAT, *sigmf.FORMATS, *raw.FORMATS)
"""In the order in which content is asked; the first that recognizes it reads it."""

FORMAT_NAMES = tuple(
    entry.name for entry in FORMATS if not any(other.name in entry.aliases for other in FORMATS if other is not entry)
)
"""What ``--format`` takes, and ``iq_data_format``: every format once."""

HEAD_BYTES = 512


def find_format(source: ByteSource, hints: Hints) -> Format:
    """Which format a source has: by its content, else by the hint, its suffix, or the form of its name.

    Raises
    ------
    EmptyRecording
        There is no byte.
    UnknownFormat
        None of them tells, or the one that tells names a format that the content is not of.
    """
    if source.size_bytes == 0:
        raise EmptyRecording(f"{source.name} has no bytes")
    head = source.read_at(0, min(HEAD_BYTES, source.size_bytes))
    for candidate in FORMATS:
        if candidate.recognizes is not None and candidate.recognizes(source, head):
            return candidate
    hint = hints.get("format")
    suffix = PurePath(source.name).suffix.lower()
    if hint:
        given, said = hint.strip().lower(), f"the format is given as {hint!r}"
        named = [entry for entry in FORMATS if given in (entry.name, *entry.aliases)]
    else:
        said = f"the name ends in {suffix!r}"
        named = [entry for entry in FORMATS if suffix in entry.suffixes]
        word = names.parse(source.name).format
        if not named and word is not None:
            said, named = f"the name is one of {word} files", [entry for entry in FORMATS if entry.name == word]
    if not named:
        known = ", ".join(FORMAT_NAMES)
        raise UnknownFormat(f"{source.name} is of no known format: {said}, and its content does not tell ({known})")
    silent = [entry for entry in named if entry.recognizes is None]
    if not silent:
        raise UnknownFormat(f"{source.name} is not {named[0].name}, though {said}: its content does not look like it")
    return silent[0]
