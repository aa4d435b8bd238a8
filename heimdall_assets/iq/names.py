"""What recorders write into file names: sample rate, centre frequency, start time, and the type of the samples.

``FORMS`` is a table with a row per form; a new recorder is one more row. Read is only what a form states without
doubt: a number counts as a frequency or a rate where its unit or its place in a known form says so, never for its
size. A name that states two different frequencies, or two rates, states none. A time without a zone may be local
time: it is handed on as text, and is no start time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from heimdall_assets.iq.instants import utc_of

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBER = r"\d{1,13}(?:\.\d{1,9})?"
BEFORE = r"(?:^|(?<=[_ .])|(?<=[0-9A-Za-z])-)"
"""A number with a unit begins a word. A hyphen separates words; a hyphen after another separator is a minus sign."""
AFTER = r"(?=[_. \-)]|$)"
SCIENTIFIC = r"(?:\d(?:\.\d{1,9})?e[+-]?\d{1,2}|\d{4,13})"
HZ = rf"(?P<frequency>{NUMBER}) ?(?P<frequency_unit>[kMG]?)Hz"
SPS = rf"(?P<rate>{NUMBER}) ?(?P<rate_unit>[kMG]?)sps"
DATE = r"(?<!\d)(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
TIME = r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
FRACTION = r"(?:[.,](?P<fraction>\d{1,9}))?"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
POWERS = {"": 0, "k": 3, "m": 6, "g": 9}
MIN_HZ = 8.3e3
"""Radio begins here (ITU Radio Regulations, article 5): less is a tone, an offset or a pulse rate."""
MAX_HZ = 1e12
YEARS = range(1970, 2200)


@dataclass(frozen=True, slots=True)
class Form:
    """A way to write facts into a name.

    Attributes
    ----------
    program : str
        What writes such names, and where that is documented.
    example : str
        One of them.
    pattern : re.Pattern
        Searched in the name. Its groups: ``frequency`` and ``rate`` with ``..._unit``; ``year`` to ``second``,
        ``fraction``, and ``utc`` where a zone is stated; formats, where the name tells the type of the samples.
    is_utc : bool
        The program writes UTC without stating it.
    format : str or None
        The type of the samples, whatever else the name says.
    """

    program: str
    example: str
    pattern: re.Pattern[str]
    is_utc: bool = False
    format: str | None = None


def _form(program: str, example: str, pattern: str, *, is_utc: bool = False, sample_format: str | None = None) -> Form:
    return Form(program, example, re.compile(pattern, re.IGNORECASE | re.ASCII), is_utc, sample_format)


FORMS = (
    _form(
        "gqrx, IQ (src/qtgui/iq_tool.cpp: parseFileName; UTC)",
        "gqrx_20190101_120000_433920000_250000_fc.raw",
        rf"gqrx_{DATE}_{TIME}_(?P<frequency>\d{{1,13}})_(?P<rate>\d{{1,11}})_fc{AFTER}",
        is_utc=True,
        sample_format="cf32",
    ),
    _form(
        "gqrx, IQ of other types, and audio (UTC)",
        "gqrx_20190101_120000_433920000_250000_16.raw",
        rf"gqrx_{DATE}_{TIME}_(?P<frequency>\d{{1,13}})(?:_(?P<rate>\d{{4,11}}))?{AFTER}",
        is_utc=True,
    ),
    _form(
        "osmocom_fft of gr-osmosdr (option --record; read by inspectrum, pull request 80, and gr-iridium, 200)",
        "name-f4.339200e+08-s2.500000e+05-t20190101120000.cfile",
        rf"(?:^|[_-])f(?P<frequency>{SCIENTIFIC})-s(?P<rate>{SCIENTIFIC})(?:-t{DATE}{TIME})?{AFTER}",
        sample_format="cf32",
    ),
    _form(
        "SigDigger and suscan (suscan: source_config, file names)",
        "sigdigger_20190101_120000Z_250000_433920000_float32_iq.raw",
        rf"sigdigger_(?:\d{{8}}_\d{{6}}Z_)?(?P<rate>\d{{1,11}})_(?P<frequency>\d{{1,13}})_float32_iq{AFTER}",
        sample_format="cf32",
    ),
    _form(
        "Universal Radio Hacker (an underscore for the decimal point; the bandwidth comes last)",
        "RTL-SDR-20190101_120000-433_92MHz-1MSps-1MHz.complex",
        r"(?:^|[_ -])(?P<frequency>\d{1,4}(?:_\d{1,6})?)(?P<frequency_unit>[kMG]?)Hz"
        r"-(?P<rate>\d{1,4}(?:_\d{1,6})?)(?P<rate_unit>[kMG]?)Sps(?:-\d{1,4}(?:_\d{1,6})?[kMG]?Hz)?(?=[_. -]|$)",
    ),
    _form(
        "KiwiSDR: kiwirecorder.py of github.com/jks-prv/kiwiclient",
        "20171127T104156Z_77500_DF0KL_iq.wav",
        r"^\d{8}T\d{6}Z_(?P<frequency>[1-9]\d{3,10})_",
    ),
    _form(
        "rtl_433 (docs/OPERATION.md, File names; src/fileformat.c): M or Hz beside k or sps",
        "g001_433.92M_250k.cu8",
        rf"{BEFORE}(?P<frequency>{NUMBER})(?:(?P<frequency_unit>[kMG]?)Hz|(?P<mega>M))"
        rf"[_ .-](?P<rate>{NUMBER})(?:(?P<rate_unit>[kMG]?)sps|(?P<kilo>k)){AFTER}",
    ),
    _form(
        "rtl_433, the other way round; SatDump (prepareBasebandFileName)",
        "2023-08-05_08-02-00_16000000SPS_2274000000Hz.s8",
        rf"{BEFORE}(?P<rate>{NUMBER})(?:(?P<rate_unit>[kMG]?)sps|(?P<kilo>k))"
        rf"[_ .-](?P<frequency>{NUMBER})(?:(?P<frequency_unit>[kMG]?)Hz|(?P<mega>M)){AFTER}",
    ),
    _form("rtl_433, frequency only", "g001_433.92M.cu8", rf"^g\d{{3,}}_(?P<frequency>{NUMBER})(?P<mega>M){AFTER}"),
    _form(
        "SDR#, HDSDR, SDRuno, SDRconnect, SDR Console, SDR++ and others: a frequency with its unit",
        "SDRSharp_20190101_120000Z_433920000Hz_IQ.wav",
        rf"{BEFORE}{HZ}{AFTER}",
    ),
    _form("SatDump and others: a rate with its unit", "rx_2.4Msps.cs16", rf"{BEFORE}{SPS}{AFTER}"),
    _form(
        "SDR#, HDSDR, SDRuno, KiwiSDR: UTC with a Z; SDRconnect and others: no zone",
        "HDSDR_20190101_120000Z_433920kHz_RF.wav",
        rf"{DATE}[T_-]{TIME}{FRACTION}(?:(?P<utc>Z)(?![0-9A-Za-z])|(?!\d))",
    ),
    _form(
        "SatDump (prepareBasebandFileName: gmtime)",
        "2023-08-17_11-41-14-373_1000000SPS_100000000Hz.f32",
        r"^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)_(?P<hour>\d\d)-(?P<minute>\d\d)-(?P<second>\d\d)"
        r"(?:-(?P<fraction>\d{3})|-\d{1,11}\.\d{1,9})?_\d+SPS_\d+Hz"
        r"(?:\.(?:(?P<cs8>s8)|(?P<cs16>s16)|(?P<cf32>f32))$)?",
        is_utc=True,
    ),
    _form(
        "ISO 8601, as SDRangel and people write it; UTC with a Z, else no zone",
        "test.2020-08-05T21_39_07_974.wav",
        r"(?<!\d)(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[T_ -](?P<hour>\d\d)[-:_.]?(?P<minute>\d\d)[-:_.]?"
        r"(?P<second>\d\d)(?:[-_.,](?P<fraction>\d{1,9})(?!\d))?(?:(?P<utc>Z)(?![0-9A-Za-z])|(?!\d))",
    ),
    _form(
        "SDR Console (local time or UTC, as it is set up)",
        "01-Jan-2019 120000.000 433.920MHz 000.wav",
        rf"(?<!\d)(?P<day>\d\d)-(?P<month>{'|'.join(MONTHS)})-(?P<year>\d{{4}})[ _]{TIME}{FRACTION}"
        r"(?:(?P<utc>Z)(?![0-9A-Za-z])|(?!\d))",
    ),
    _form(
        "SDR++ (misc_modules/recorder/src/main.cpp, genFileName: localtime)",
        "baseband_433920000Hz_12-00-00_01-01-2019.wav",
        r"(?<!\d)(?P<hour>\d\d)-(?P<minute>\d\d)-(?P<second>\d\d)_(?P<day>\d\d)-(?P<month>\d\d)-(?P<year>\d{4})"
        r"(?:(?P<utc>Z)(?![0-9A-Za-z])|(?!\d))",
    ),
)
"""In the order in which they are tried: for each fact, the first form that states it counts."""

TYPE_WORD = re.compile(r"(?:^|[_.-])(cu8|cs8|cs16|cf32)(?=[_.-]|$)", re.IGNORECASE)
"""A type of samples as a word of the name, which rtl_433 reads too (src/fileformat.c)."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a name states; None where it does not.

    Attributes
    ----------
    sample_rate_hz, center_frequency_hz : float or None
        In Hz.
    start_time : datetime or None
        UTC.
    zoneless_time : str or None
        A time that may be local: no start time.
    format : str or None
        The type of the samples.
    """

    sample_rate_hz: float | None = None
    center_frequency_hz: float | None = None
    start_time: datetime | None = None
    zoneless_time: str | None = None
    format: str | None = None


@lru_cache(maxsize=256)
def parse(name: str) -> Named:
    """What a file's name, without its folder, states.

    Examples
    --------
    >>> parse("g001_433.92M_250k.cu8")
    Named(sample_rate_hz=250000.0, center_frequency_hz=433920000.0, start_time=None, zoneless_time=None, format=None)
    """
    matches = [(form, list(form.pattern.finditer(name))) for form in FORMS]
    times = [(time, form.is_utc or _group(found, "utc") is not None)
             for form, all_found in matches for found in all_found
             if (time := _time(found)) is not None]  # fmt: skip
    start = next((time for time, is_utc in times if is_utc), None)
    zoneless = next((time for time, _ in times), None) if start is None else None
    return Named(
        sample_rate_hz=_first(matches, "rate", "kilo", 1.0),
        center_frequency_hz=_first(matches, "frequency", "mega", MIN_HZ),
        start_time=start,
        zoneless_time=None if zoneless is None else zoneless.replace(tzinfo=None).isoformat(" "),
        format=_format(matches) or _type_word(name),
    )


def _group(found: re.Match[str], name: str) -> str | None:
    return found.groupdict().get(name) or None


def _first(
    matches: list[tuple[Form, list[re.Match[str]]]], quantity: str, short_unit: str, least_hz: float
) -> float | None:
    """A rate or frequency in Hz by the first form that states it; None where that one states several."""
    for _, all_found in matches:
        values = {value for found in all_found for value in _values(found, quantity, short_unit)}
        if values:
            value = values.pop()
            return value if not values and least_hz <= value <= MAX_HZ else None
    return None


def _values(found: re.Match[str], quantity: str, short_unit: str) -> Iterator[float]:
    number = _group(found, quantity)
    if number is None:
        return
    unit = _group(found, f"{quantity}_unit") or _group(found, short_unit) or ""
    yield float(Decimal(number.replace("_", ".")).scaleb(POWERS[unit.lower()]))


def _time(found: re.Match[str]) -> datetime | None:
    """The time in a match, as if it were UTC; None where there is none, or an impossible one."""
    if _group(found, "year") is None:
        return None
    part = found.groupdict()
    month = part["month"]
    if not month.isdigit():
        month = f"{MONTHS.index(month.capitalize()) + 1:02}"
    fraction = f".{part['fraction']}" if part.get("fraction") else ""
    time = utc_of(f"{part['year']}-{month}-{part['day']}T{part['hour']}:{part['minute']}:{part['second']}{fraction}")
    return time.astimezone(UTC) if time is not None and time.year in YEARS else None


def _format(matches: list[tuple[Form, list[re.Match[str]]]]) -> str | None:
    for form, all_found in matches:
        for found in all_found:
            word = form.format or next((name for name in ("cs8", "cs16", "cf32") if _group(found, name)), None)
            if word is not None:
                return word
    return None


def _type_word(name: str) -> str | None:
    words = {word.lower() for word in TYPE_WORD.findall(name)}
    return words.pop() if len(words) == 1 else None
