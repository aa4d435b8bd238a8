"""Values that Python cannot hold, or PostgreSQL cannot compute with: how they are read, told and kept out of sums.

Heimdall's tables are written by others. A ``timestamptz`` reaches from 4714 BC to 294276 AD and knows infinity, a
``datetime`` ends at the year 9999; a ``double precision`` may be NaN; the digits of a number in JSON may be thousands;
a database without an encoding (SQL_ASCII) holds any bytes. Reading such a value never fails here. What depends on one
asks for it by :func:`unsound`, and fails by its name.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg.adapt import Loader
from psycopg.pq import Format

from heimdall_assets.errors import storable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import tzinfo

    from psycopg.abc import AdaptContext, Buffer

FIRST, LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""Between them a time can be shown in any zone."""

MOST_SECONDS = 1e12
"""A time in between and a duration up to this can be added: that is some 30,000 years."""

TIME, DURATION, NUMBER = "time", "duration", "number"
"""Kinds of columns, by what is sound in them."""

SESSION_COLUMNS = {
    "session_start": TIME,
    "session_end": TIME,
    "duration_seconds": DURATION,
    "created_at": TIME,
    "updated_at": TIME,
}
MEASUREMENT_COLUMNS = {"timestamp": TIME, "created_at": TIME, "duration_seconds": DURATION}
STATION_COLUMNS = {"latitude": NUMBER, "longitude": NUMBER}
SOURCE_COLUMNS = {"latitude": NUMBER, "longitude": NUMBER, "power_dbm": NUMBER}


def is_sound(value: str, kind: str) -> str:
    """SQL for whether a value can be worked with; NULL where it is NULL.

    Parameters
    ----------
    value : str
        SQL expression.
    kind : {"time", "duration", "number"}
        Of its column.
    """
    # NaN is larger than any number
    low, high = {
        TIME: (f"timestamptz '{FIRST.isoformat()}'", f"timestamptz '{LAST.isoformat()}'"),
        DURATION: (f"{-MOST_SECONDS:.0f}", f"{MOST_SECONDS:.0f}"),
        NUMBER: ("-1e300", "1e300"),
    }[kind]
    return f"({value} BETWEEN {low} AND {high})"


def sound_time(*values: str) -> str:
    """SQL for the first of some times that can be worked with; NULL where there is none."""
    return f"coalesce({', '.join(f'CASE WHEN {is_sound(value, TIME)} THEN {value} END' for value in values)})"


def unsound(table: str, row: str, columns: Mapping[str, str]) -> str:
    """SQL for the first value of a row that cannot be worked with, by table, column and value; NULL: there is none.

    Parameters
    ----------
    table : str
        As it is named in the answer.
    row : str
        Name of something that has the columns.
    columns : mapping
        Column -> kind.
    """
    quoted = {name: f'{row}."{name}"' for name in columns}
    cases = " ".join(
        f"WHEN NOT {is_sound(value, columns[name])} THEN '{table}.{name} = ' || {value}::text"
        for name, value in quoted.items()
    )
    return f"CASE {cases} END"


def json_number(value: str) -> str:
    """SQL for a number in JSON as double precision; NULL for what is none, or is too large to be one.

    Parameters
    ----------
    value : str
        SQL expression of type jsonb.
    """
    exact = f"abs(({value})::numeric)"  # the digits of a number in JSON are not limited
    return f"""
        CASE WHEN jsonb_typeof({value}) = 'number'
             THEN CASE WHEN {exact} < 1e-300 THEN 0.0 WHEN {exact} < 1e300 THEN ({value})::double precision END
        END""".strip()


class UnreadableTime(datetime):
    """A time that Python cannot hold: the nearest one that it can, shown as the database shows it."""

    text = ""

    @classmethod
    def of(cls, text: str) -> UnreadableTime:
        """What stands for a time, given as PostgreSQL writes it."""
        nearest = FIRST if text.startswith("-") or text.endswith("BC") else LAST
        found = cls(nearest.year, nearest.month, nearest.day, tzinfo=UTC)
        found.text = text
        return found

    def __str__(self) -> str:
        return self.text or super().__str__()

    def __format__(self, specification: str) -> str:
        return self.text or super().__format__(specification)

    def isoformat(self, *arguments: Any, **options: Any) -> str:
        """The database's text: ISO 8601 has no word for it."""
        return self.text or super().isoformat(*arguments, **options)

    def strftime(self, template: str) -> str:
        """The database's text."""
        return self.text or super().strftime(template)

    def astimezone(self, _zone: tzinfo | None = None) -> UnreadableTime:
        """The same: it is of no zone."""
        return self


class UnreadableText(str):
    r"""A text whose bytes are not UTF-8; each such byte is written as \xff."""

    __slots__ = ()


def unreadable(row: Any, table: str, columns: Collection[str]) -> str | None:
    """The first text of a fetched row that is not UTF-8, as :func:`unsound` names values."""
    found = (name for name in columns if isinstance(getattr(row, name), UnreadableText))
    return next((f"{table}.{name} = {getattr(row, name)}" for name in found), None)


def _text(data: Buffer) -> str:
    content = bytes(data)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return UnreadableText(content.decode(errors="backslashreplace"))


class _TextLoader(Loader):
    """Text of a database without an encoding."""

    def load(self, data: Buffer) -> str:
        return _text(data)


@lru_cache
def _time_loader(oid: int) -> type[Loader]:
    """The driver's loader of a type of times, which is of the driver's own language and cannot be inherited from."""
    base = cast("type[Loader]", psycopg.adapters.get_loader(oid, Format.TEXT))

    class TimeLoader(Loader):
        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            self._load = base(oid, context).load

        def load(self, data: Buffer) -> Any:
            try:
                return self._load(data)
            except (psycopg.DataError, OverflowError):
                return UnreadableTime.of(_text(data))

    return TimeLoader


def read_any_value(connection: psycopg.Connection[Any], _record: object) -> None:
    """Let a new connection read every value that a column may hold."""
    for name in ("timestamptz", "timestamp"):
        oid = psycopg.adapters.types[name].oid
        connection.adapters.register_loader(oid, _time_loader(oid))
    # Such a server checks nothing while the client says that it has no encoding either; else it refuses to send them.
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        for name in ("text", "varchar", "bpchar", "name"):
            connection.adapters.register_loader(name, _TextLoader)


_LONG_NUMBER = re.compile(r"\d{300}")
_REFUSED = re.compile("\\\\u0000|[\ud800-\udfff]")


def from_json(data: bytes | str) -> Any:
    """What a JSON document of the database holds.

    A number that is too large is None; a byte that is not UTF-8 is U+FFFD. A document that Python cannot take apart,
    since it is nested too deep, is its text.
    """
    text = data if isinstance(data, str) else data.decode(errors="replace")
    load = partial(json.loads, parse_int=_number, parse_float=_number) if _LONG_NUMBER.search(text) else json.loads
    try:
        return load(text)
    except RecursionError:
        return text


def _number(digits: str) -> float | int | None:
    if len(digits) > 300:
        return None
    return int(digits) if digits.lstrip("-").isdecimal() else float(digits)


def to_json(value: Any) -> str:
    """A JSON document that the database takes: of numbers NaN and infinity are refused, texts are made storable.

    Characters stay as they are: a database that is not UTF-8 knows escapes of ASCII characters alone.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return json.dumps(_storable(value), allow_nan=False, ensure_ascii=False) if _REFUSED.search(text) else text


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list | tuple) else value
