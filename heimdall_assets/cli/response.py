"""A receiver's response as a file: a CSV of frequencies and decibels, as a sweep leaves it."""

from __future__ import annotations

import math
from pathlib import Path

from heimdall_assets.errors import SettingError

HEADER = ("offset_hz", "response_db")
MAX_OFFSET_HZ = 1e9
MAX_RESPONSE_DB = 150.0
MIN_POINTS = 2
MAX_POINTS = 512
"""A response is smooth, and it is noted in every row that is computed with it."""
MAX_BYTES = 1 << 20
SHOWN_CHARACTERS = 60


def read_response(path: Path) -> tuple[tuple[float, float], ...]:
    """Pairs of an offset from the centre frequency in Hz and a response in dB, sorted by the offsets.

    The file has the header ``offset_hz,response_db`` and a row per frequency; blank lines, and what follows a ``#``,
    are passed over.

    Raises
    ------
    SettingError
        Names the file, the line, the value and what is allowed.
    """
    lines = [(number, line.partition("#")[0].strip()) for number, line in enumerate(_text(path).splitlines(), 1)]
    rows = [(number, [cell.strip() for cell in line.split(",")]) for number, line in lines if line]
    if not rows or tuple(cell.lower() for cell in rows[0][1]) != HEADER:
        number, said = (rows[0][0], ",".join(rows[0][1])) if rows else (1, "")
        raise _refused(path, f"line {number}: {_shown(said)} is not the header {','.join(HEADER)}")
    if not MIN_POINTS <= len(rows) - 1 <= MAX_POINTS:
        raise _refused(path, f"{len(rows) - 1} rows below the header are not allowed: {MIN_POINTS} to {MAX_POINTS}")
    line_of: dict[float, int] = {}
    pairs = []
    for number, cells in rows[1:]:
        if len(cells) != len(HEADER):
            raise _refused(path, f"line {number}: {_shown(','.join(cells))} is not an offset and a response")
        offset_hz = _number(path, number, HEADER[0], cells[0], MAX_OFFSET_HZ)
        response_db = _number(path, number, HEADER[1], cells[1], MAX_RESPONSE_DB)
        if offset_hz in line_of:
            raise _refused(path, f"line {number}: {HEADER[0]}={cells[0]} stands in line {line_of[offset_hz]} already")
        line_of[offset_hz] = number
        pairs.append((offset_hz, response_db))
    return tuple(sorted(pairs))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _refused(path, f"it cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_BYTES:
        raise _refused(path, f"it has more than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(path, f"it is not text in UTF-8: byte {error.start} is {content[error.start]:#04x}") from error


def _number(path: Path, line: int, name: str, text: str, limit: float) -> float:
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= limit:
        raise _refused(path, f"line {line}: {name}={_shown(text)} is not allowed: -{limit:g} to {limit:g}")
    return value


def _refused(path: Path, what: str) -> SettingError:
    return SettingError(f"--response {ascii(str(path))[1:-1]}: {what}")


def _shown(text: str) -> str:
    """A text of the file as an error echoes it: in ASCII, cut where it is long."""
    return ascii(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")
