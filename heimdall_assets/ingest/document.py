"""A JSON document that others wrote: read once, and checked value by value.

Every error is one line that names the document, the value's place in it, the value and what is allowed.
"""

from __future__ import annotations

import json
import math
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from heimdall_assets.errors import MalformedRecording
from heimdall_assets.iq.instants import utc_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heimdall_assets.ingest.places import Place

MAX_NAME = 255
"""Characters of a name; the columns hold no more."""

SHOWN_CHARACTERS = 60
"""A longer value is cut where an error echoes it."""

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""Years before and after are slips: a wrong unit of an epoch, a clock that was never set."""

UNSTORABLE = ("Cc", "Cs")
"""Unicode categories that a name must not hold: control characters, NUL among them, and lone surrogates."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object of the document.

    Attributes
    ----------
    document : str
        What the document is called in errors.
    path : str
        Where the object stands in it; empty at the top.
    values : mapping
        Its keys and values.
    """

    document: str
    path: str
    values: Mapping[str, Any]

    def text(self, key: str, *, longest: int = MAX_NAME) -> str | None:
        """A text that a database can hold; None where there is none, or an empty one."""
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or len(value) > longest:
            raise self.refused(key, f"a text of at most {longest} characters")
        if any(unicodedata.category(character) in UNSTORABLE for character in value):
            raise self.refused(key, "a text without control characters and lone surrogates")
        return value

    def number(self, key: str, low: float, high: float) -> float | None:
        """A number within a range; None where there is none."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.refused(key, f"a number within {low:.15g} to {high:.15g}")
        return float(value)

    def time(self, key: str) -> datetime | None:
        """A time in ISO 8601; UTC where it names no zone, None where there is none."""
        text = self.text(key)
        if text is None:
            return None
        moment = utc_of(text)
        if moment is None:
            raise self.refused(key, "a time in ISO 8601, like 2024-03-02T10:20:30Z")
        if not EARLIEST <= moment < LATEST:
            raise self.refused(key, f"a time of {EARLIEST:%Y} or later, before {LATEST:%Y}")
        return moment

    def entry(self, key: str) -> Entry | None:
        """An object; None where there is none."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refused(key, "an object")
        return Entry(self.document, self._path(key), value)

    def entries(self, key: str) -> list[Entry]:
        """The objects of a list that has to be there."""
        self.require(key)
        value = self.values[key]
        if not isinstance(value, list):
            raise self.refused(key, "a list of objects")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise MalformedRecording(f"{self.document}: {self._path(key)}[{index}]={shown(item)} is not an object")
        return [Entry(self.document, f"{self._path(key)}[{index}]", item) for index, item in enumerate(value)]

    def require(self, *keys: str) -> None:
        """Raise where one of the keys is missing, null or empty."""
        for key in keys:
            if self.values.get(key) in (None, ""):
                where = self.path or "it"
                raise MalformedRecording(f"{self.document}: {where} has no {key}")

    def refused(self, key: str, allowed: str) -> MalformedRecording:
        """The error for a value."""
        return MalformedRecording(
            f"{self.document}: {self._path(key)}={shown(self.values.get(key))} is not allowed: {allowed}"
        )

    def _path(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def read_document(place: Place, max_bytes: int) -> Entry:
    """Read a JSON object; UTF-8, or UTF-16 and UTF-32 as editors of Windows write them, with or without a mark.

    Raises
    ------
    MalformedRecording
        It is not JSON, or no object.
    RecordingError
        It cannot be read.
    """
    source = place.open(max_bytes)
    try:
        content = source.read_at(0, source.size_bytes)
    finally:
        source.close()
    try:
        document = json.loads(content)
    except RecursionError:
        raise MalformedRecording(f"{place} is nested too deeply") from None
    except ValueError as error:
        raise MalformedRecording(f"{place} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedRecording(f"{place} holds {shown(document)}: an object is expected at its top")
    return Entry(str(place), "", document)


def shown(value: Any) -> str:
    """A value as an error echoes it: on one line, in ASCII, cut where it is long."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**SHOWN_CHARACTERS:
        return f"{'-' if value < 0 else ''}1e{int(math.log10(abs(value)))} or so"
    text = json.dumps(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
