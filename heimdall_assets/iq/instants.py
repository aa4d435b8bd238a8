"""UTC from the digits that recorders write: leap seconds and 24:00:00 included."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

MIDNIGHT = re.compile(r"(?<=[T ])24(?=:?00(?::?00(?:[.,]0+)?)?(?:Z|[+-]|$))", re.IGNORECASE)
"""24:00:00, which ISO 8601-1:2019/Amd 1 allows: the end of a day."""
LEAP_SECOND = re.compile(r"(?<=[T ])(\d\d:?\d\d:?)60(?!\d)", re.IGNORECASE)


def utc_of(text: str) -> datetime | None:
    """UTC of an ISO 8601 time; one without a zone is UTC. None where it is no time.

    A leap second, 23:59:60.5, is the same moment as 00:00:00.5 of the next day, as POSIX counts.
    """
    later = timedelta()
    if MIDNIGHT.search(text):
        text, later = MIDNIGHT.sub("00", text), timedelta(days=1)
    elif LEAP_SECOND.search(text):
        text, later = LEAP_SECOND.sub(r"\g<1>59", text), timedelta(seconds=1)
    try:
        time = datetime.fromisoformat(text)
        return (time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)) + later
    except (ValueError, OverflowError):
        return None
