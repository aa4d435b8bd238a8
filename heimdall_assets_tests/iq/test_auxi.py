"""auxi chunks of SpectraVue's kind and SDR Console's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heimdall_assets.iq.auxi import Auxi, parse
from heimdall_assets_tests.iq.builders import auxi

XML = (
    '<?xml version="1.0"?><SDR-XML-Root Description="Saved recording data"><Definition '
    'CurrentTimeUTC="04-01-2023 13:03:07" RadioCenterFreq="500512500" SampleRate="375000" '
    'UTCSeconds="1672837387"></Definition></SDR-XML-Root>'
)


def test_the_structure_holds_start_and_centre() -> None:
    expected = Auxi(145_500_000.0, datetime(2024, 3, 5, 12, 34, 56, 789_000, UTC))
    assert parse(auxi()) == expected
    assert parse(auxi()[:36]) == expected


@pytest.mark.parametrize("encoding", ["utf-16-le", "latin-1"])
def test_sdr_console_writes_xml(encoding: str) -> None:
    assert parse(XML.encode(encoding)) == Auxi(500_512_500.0, datetime(2023, 1, 4, 13, 3, 7, tzinfo=UTC))


def test_what_is_missing_or_nonsense_is_none() -> None:
    assert parse(b"") == parse(auxi()[:35]) == Auxi()
    assert parse(auxi(0, (0, 0, 0, 0, 0, 0, 0, 0))) == Auxi()
    assert parse(auxi(1, (2024, 13, 0, 1, 0, 0, 0, 0))) == Auxi(1.0, None)
    assert parse(b"<SDR-XML-Root>") == Auxi()
    assert parse(b'<SDR-XML-Root UTCSeconds="99999999999" RadioCenterFreq="0">').center_frequency_hz is None


@given(st.binary(max_size=200) | st.binary(max_size=20).map(lambda tail: XML.encode()[:150] + tail))
@settings(deadline=None, max_examples=100)
def test_any_bytes_parse_to_something(raw: bytes) -> None:
    parse(raw)
