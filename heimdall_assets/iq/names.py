"""What recorders write into file names: frequency and start time."""

from __future__ import annotations

import re
from datetime import UTC, datetime

# kiwirecorder: 20171127T104156Z_77500_DF0KL_iq.wav, the frequency in Hz
KIWI = re.compile(r"^\d{8}T\d{6}Z_(?P<value>\d{1,11})_")
# HDSDR, SDR#, SDR++ and SDRuno state the unit, as in HDSDR_20130406_142040Z_7050kHz_RF.wav; SDR Console separates by
# spaces, as in 07-May-2017 152131.927 28.500MHz 000.wav
WITH_UNIT = re.compile(r"(?:^|[_ ])(?P<value>\d{1,11}(?:\.\d{1,9})?)(?P<prefix>[kMG]?)Hz(?=[_. -]|$)", re.IGNORECASE)
# gqrx and others: a bare number of Hz between underscores; dates and times are taken out first
BARE = re.compile(r"_(?P<value>\d{5,11})(?=_)")
DATE_AND_TIME = re.compile(r"(?<!\d)(?P<date>\d{8})[T_-](?P<time>\d{6})(?!\d)(?P<utc>Z?)")
PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


def frequency_hz(name: str) -> float | None:
    """Centre frequency that a file name states, in Hz; None where it states none."""
    if found := KIWI.match(name):
        return float(found["value"]) or None
    if found := WITH_UNIT.search(name):
        return float(found["value"]) * PREFIXES[found["prefix"].lower()] or None
    found = BARE.search(DATE_AND_TIME.sub("", name))
    return float(found["value"]) or None if found else None


def start_time(name: str) -> datetime | None:
    """UTC time in a file name, such as ``20171127T104156Z``; None without one, or without the Z of UTC."""
    for found in DATE_AND_TIME.finditer(name):
        if found["utc"]:
            try:
                return datetime.strptime(found["date"] + found["time"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
            except ValueError:
                continue
    return None
