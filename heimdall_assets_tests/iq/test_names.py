"""Frequencies and times in file names, in the ways of real recorders."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from heimdall_assets.iq.names import frequency_hz, start_time


@pytest.mark.parametrize(
    ("name", "hz"),
    [
        ("20171127T104156Z_77500_DF0KL_iq.wav", 77_500.0),
        ("20171127T104156Z_9000_X_iq.wav", 9_000.0),
        ("baseband_145500000Hz_12-34-56_02-03-2024.wav", 145_500_000.0),
        ("07-May-2017 152131.927 28.500MHz 000.wav", 28_500_000.0),
        ("HDSDR_20130406_142040Z_7050kHz_RF.wav", 7_050_000.0),
        ("SDRSharp_20160101_231914Z_145500000Hz_IQ.wav", 145_500_000.0),
        ("SDRuno_20200904_204456Z_9600000HZ.wav", 9_600_000.0),
        ("gqrx_20200101_120000_145500000_2400000_fc.wav", 145_500_000.0),
        ("baseband_433.92MHz_rx.wav", 433_920_000.0),
        ("rx_1.5GHz.wav", 1_500_000_000.0),
        ("a_77500_b.wav", 77_500.0),
        ("145500000Hz.wav", 145_500_000.0),
    ],
)
def test_the_centre_frequency_is_read_from_the_name(name: str, hz: float) -> None:
    assert frequency_hz(name) == hz


@pytest.mark.parametrize(
    "name",
    ["", "rx.wav", "session_20171127_104156_rx.wav", "20171127_104156.wav", "a_2017_b.wav", "a_0Hz.wav",
     "20171127T104156Z_0_X_iq.wav", "x_000000_y.wav", "rx_77500.wav", "chain12345Hzlike.wav"],
)  # fmt: skip
def test_dates_years_and_counters_are_no_frequencies(name: str) -> None:
    assert frequency_hz(name) is None


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("20171127T104156Z_77500_DF0KL_iq.wav", datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)),
        ("HDSDR_20130406_142040Z_7050kHz_RF.wav", datetime(2013, 4, 6, 14, 20, 40, tzinfo=UTC)),
        ("99999999T999999Z_20240229T000000Z.wav", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_the_start_time_is_read_from_the_name(name: str, time: datetime) -> None:
    assert start_time(name) == time


@pytest.mark.parametrize(
    "name", ["rx.wav", "20171327T104156Z.wav", "gqrx_20200101_120000_1_fc.wav", "20230229T000000Z"]
)
def test_impossible_times_and_times_without_a_zone_are_none(name: str) -> None:
    assert start_time(name) is None
