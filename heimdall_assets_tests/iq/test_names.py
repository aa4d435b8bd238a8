"""Rates, frequencies and times in file names, in the ways of real recorders, and numbers that are none of these."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heimdall_assets.iq import IQFile
from heimdall_assets.iq.names import FORMS, MONTHS, Named, parse
from heimdall_assets_tests.iq.builders import MemorySource

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = datetime(2019, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.program)
def test_every_form_reads_its_example(form: object) -> None:
    example = form.example  # type: ignore[attr-defined]
    assert form.pattern.search(example)  # type: ignore[attr-defined]
    assert parse(example) != Named(), example


def test_every_form_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "recordings.md").read_text()
    assert [form.example for form in FORMS if form.example not in text] == []


@pytest.mark.parametrize(
    ("name", "rate_hz", "hz"),
    [
        ("g001_433.92M_250k.cu8", 250e3, 433.92e6),
        ("g017_868M_1024k.cu8", 1024e3, 868e6),
        ("g002_433.92M_250k_button-a.cs16", 250e3, 433.92e6),
        ("pool_433920kHz_250ksps.cu8", 250e3, 433.92e6),
        ("pool_1.024Msps_868.3MHz.cs16", 1.024e6, 868.3e6),
        ("433.92MHz_250k.cu8", 250e3, 433.92e6),
        ("1000k_915M.cu8", 1e6, 915e6),
        ("g003_315M.cu8", None, 315e6),
        ("gqrx_20190101_120000_433920000_250000_fc.raw", 250e3, 433.92e6),
        ("gqrx_20200101_120000_145500000_2400000_fc.wav", 2.4e6, 145.5e6),
        ("gqrx_20181222_203941_137100000.wav", None, 137.1e6),
        ("gqrx_20181222_203941_137100000_2.wav", None, 137.1e6),
        ("name-f4.339200e+08-s2.500000e+05-t20190101120000.cfile", 250e3, 433.92e6),
        ("iridium-f1.626000e+09-s2.000000e+06.cfile", 2e6, 1.626e9),
        ("RTL-SDR-20250510_080358-433_92MHz-1MSps-1MHz.complex16s", 1e6, 433.92e6),
        ("USRP-433_920MHz-2_4MSps-1MHz-buttona.complex", 2.4e6, 433.92e6),
        ("2023-08-05_18-02-45-1691258565.534000_16000000SPS_2284000000Hz.f32", 16e6, 2.284e9),
        ("sigdigger_20190101_120000Z_250000_433920000_float32_iq.raw", 250e3, 433.92e6),
        ("SDRSharp_20160101_231914Z_145500000Hz_IQ.wav", None, 145.5e6),
        ("HDSDR_20130406_142040Z_7050kHz_RF.wav", None, 7.05e6),
        ("HDSDR_20120317_155627Z_RDXC_CW_14045kHz_RF.wav", None, 14.045e6),
        ("SDRuno_20200904_204456Z_9600000HZ.wav", None, 9.6e6),
        ("SDRuno_20190101_120000Z_433920kHz.wav", None, 433.92e6),
        ("SDRconnect_IQ_20260713_150242_163671500HZ.wav", None, 163.6715e6),
        ("07-May-2017 152131.927 28.500MHz 000.wav", None, 28.5e6),
        ("01-Jan-2019 120000.000 433.920MHz.wav", None, 433.92e6),
        ("baseband_433920000Hz_12-00-00_01-01-2019.wav", None, 433.92e6),
        ("20171127T104156Z_77500_DF0KL_iq.wav", None, 77.5e3),
        ("20171127T104156Z_9000_X_iq.wav", None, 9e3),
        ("rx_145500000Hz_a.cf32", None, 145.5e6),
        ("rx_1.5GHz.wav", None, 1.5e9),
        ("rx_2.4Msps.cs16", 2.4e6, None),
    ],
)
def test_rate_and_centre_frequency_are_read_from_the_name(name: str, rate_hz: float | None, hz: float | None) -> None:
    named = parse(name)
    assert (named.sample_rate_hz, named.center_frequency_hz) == (rate_hz, hz)


@pytest.mark.parametrize(
    "name",
    ["", "rx.wav", "session_20171127_104156_rx.wav", "20171127_104156.wav", "a_2017_b.wav", "a_0Hz.wav",
     "20171127T104156Z_0_X_iq.wav", "x_000000_y.wav", "rx_77500.wav", "chain12345Hzlike.wav", "a_77500_b.wav",
     "recording_2019_77500.cf32", "rec_1546344000_x.cf32", "20190101.cf32", "kiwi_hfdl_12k.wav", "take_5M.cf32",
     "gps_l1_4MHz_1575420kHz.cf32", "tone_-5kHz.cf32", "a_1e99Hz.wav", "rx_250k.cu8", "10M_samples.cf32",
     "name-f1e99-s1e99.cfile", "sn_00012345_x.cs16", "192.168.1.20_8073.wav",
     "model-f1-s2.cf32", "20171127T104156Z_0001_rx.cf32", "tone_1000Hz.cf32", "prf_5kHz.cf32",
     "gqrx_20190101_120000_1_2.wav"],
)  # fmt: skip
def test_numbers_that_may_be_something_else_state_nothing(name: str) -> None:
    assert (parse(name).sample_rate_hz, parse(name).center_frequency_hz) == (None, None)


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("20171127T104156Z_77500_DF0KL_iq.wav", datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)),
        ("HDSDR_20130406_142040Z_7050kHz_RF.wav", datetime(2013, 4, 6, 14, 20, 40, tzinfo=UTC)),
        ("99999999T999999Z_20240229T000000Z.wav", datetime(2024, 2, 29, tzinfo=UTC)),
        ("gqrx_20190101_120000_433920000_250000_fc.raw", NOON),
        ("SDRuno_20190101_120000Z_433920kHz.wav", NOON),
        ("2023-08-17_11-41-14-373_1000000SPS_100000000Hz.f32", datetime(2023, 8, 17, 11, 41, 14, 373000, UTC)),
        ("rx_2019-01-01T12:00:00Z.cf32", NOON),
        ("rx 2019-01-01 12-00-00Z.cf32", NOON),
        ("x_20161231T235960Z.wav", datetime(2017, 1, 1, tzinfo=UTC)),
        ("x_20161231_240000Z.wav", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_in_utc_is_the_start(name: str, time: datetime) -> None:
    assert (parse(name).start_time, parse(name).zoneless_time) == (time, None)


@pytest.mark.parametrize(
    "name",
    ["baseband_433920000Hz_12-00-00_01-01-2019.wav", "01-Jan-2019 120000.000 433.920MHz.wav",
     "name-f4.339200e+08-s2.500000e+05-t20190101120000.cfile", "SDRconnect_IQ_20190101_120000_163671500HZ.wav",
     "test.2019-01-01T12_00_00.wav", "rx_20190101_120000.cf32"],
)  # fmt: skip
def test_a_time_without_a_zone_is_no_start_and_is_said(name: str) -> None:
    assert (parse(name).start_time, parse(name).zoneless_time) == (None, "2019-01-01 12:00:00")
    remarks = IQFile(MemorySource(bytes(800), name), {"format": "cf32"}).remarks
    assert any("2019-01-01 12:00:00 without a zone" in remark for remark in remarks)


@pytest.mark.parametrize(
    "name", ["rx.wav", "20171327T104156Z.wav", "20230229T000000Z", "gqrx_20191301_120000_1000000_fc.wav",
             "x_99990101T000000Z", "x_20190101T236000Z", "20190101T000000Zulu"]
)  # fmt: skip
def test_impossible_times_are_none(name: str) -> None:
    assert parse(name).start_time is None


WORDS = st.sampled_from(["rx", "site", "test", "iq", "session", "run", "kiwi", "v", "north", "M", "Hz", "k"])
NUMBERS = st.integers(0, 10**12).map(str) | st.dates().map("{:%Y%m%d}".format) | st.integers(1900, 2100).map(str)


@given(parts=st.lists(WORDS | NUMBERS, min_size=1, max_size=6), joiner=st.sampled_from("_-. "),
       suffix=st.sampled_from([".cf32", ".wav", ".cu8", ".npy", ""]))  # fmt: skip
@settings(deadline=None, max_examples=300)
def test_numbers_without_a_unit_are_never_rates_or_frequencies(parts: list[str], joiner: str, suffix: str) -> None:
    named = parse("x" + joiner + joiner.join(parts) + suffix)
    assert named.sample_rate_hz is None or "k" in parts
    if not {"Hz", "M", "k"} & set(parts):
        assert (named.sample_rate_hz, named.center_frequency_hz) == (None, None)


TIMES = st.integers(86_400, 6_940_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))
WRITTEN: dict[str, Callable[[datetime, int, int], str]] = {
    "gqrx": lambda t, hz, rate: f"gqrx_{t:%Y%m%d_%H%M%S}_{hz}_{rate}_fc.raw",
    "SDR#": lambda t, hz, _: f"SDRSharp_{t:%Y%m%d_%H%M%S}Z_{hz}Hz_IQ.wav",
    "HDSDR": lambda t, hz, _: f"HDSDR_{t:%Y%m%d_%H%M%S}Z_{hz // 1000}kHz_RF.wav",
    "SDR++": lambda t, hz, _: f"baseband_{hz}Hz_{t:%H-%M-%S}_{t:%d-%m-}{t.year:04}.wav",
    "SDR Console": lambda t, hz, _: f"{t:%d}-{MONTHS[t.month - 1]}-{t:%Y} {t:%H%M%S}.000 {hz / 1e6:.3f}MHz 000.wav",
    "osmocom_fft": lambda t, hz, rate: f"name-f{hz:e}-s{rate:e}-t{t:%Y%m%d%H%M%S}.cfile",
    "rtl_433": lambda _, hz, rate: f"g001_{hz / 1e6:g}M_{rate / 1e3:g}k.cu8",
    "KiwiSDR": lambda t, hz, _: f"{t:%Y%m%dT%H%M%S}Z_{hz}_SITE_iq.wav",
}
UTC_FORMS = {"gqrx", "SDR#", "HDSDR", "KiwiSDR"}
RATED = {"gqrx", "osmocom_fft", "rtl_433"}


@pytest.mark.parametrize("program", WRITTEN)
@given(time=TIMES, khz=st.integers(10, 900_000), rate_khz=st.integers(8, 900))
@settings(deadline=None, max_examples=60)
def test_what_a_recorder_writes_is_read_back(program: str, time: datetime, khz: int, rate_khz: int) -> None:
    named = parse(WRITTEN[program](time, khz * 1000, rate_khz * 1000))
    assert named.center_frequency_hz == pytest.approx(khz * 1000, rel=1e-5)
    assert named.sample_rate_hz == (pytest.approx(rate_khz * 1000, rel=1e-5) if program in RATED else None)
    assert named.start_time == (time if program in UTC_FORMS else None)


@given(st.text(max_size=80))
@settings(deadline=None, max_examples=300)
def test_any_name_is_parsed(name: str) -> None:
    named = parse(name)
    for value in (named.sample_rate_hz, named.center_frequency_hz):
        assert value is None or 0 < value <= 1e12


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gqrx_20190101_120000_433920000_250000_fc.raw", "cf32"), ("name-f4.3e+08-s2.5e+05.iq", "cf32"),
     ("sigdigger_250000_433920000_float32_iq.raw", "cf32"),
     ("2023-08-05_08-02-00_16000000SPS_2274000000Hz.s8", "cs8"),
     ("2023-08-05_18-02-45-534_16000000SPS_2284000000Hz.s16", "cs16"),
     ("2023-08-05_18-02-45-1691258565.534000_16000000SPS_2284000000Hz.f32", "cf32"),
     ("capture_cs16_250ksps.bin", "cs16"),
     ("rx.complex16u", "cu8"), ("rx.complex16s", "cs8"), ("rx.complex", "cf32"), ("rx.fc", "cf32"),
     ("gqrx_20190101_120000_433920000_250000_fc.cs16", "cs16")],
)  # fmt: skip
def test_the_form_of_a_name_tells_the_type_where_the_suffix_does_not(name: str, expected: str) -> None:
    assert IQFile(MemorySource(bytes(80), name), {}).format == expected


def test_header_then_hint_then_name_tell_the_rate_and_the_frequency() -> None:
    name = "g001_433.92M_250k.cu8"
    named = IQFile(MemorySource(bytes(80), name), {})
    assert (named.sample_rate_hz, named.center_frequency_hz) == (250e3, 433.92e6)
    hinted = IQFile(MemorySource(bytes(80), name), {"sample_rate_hz": 1e6, "center_frequency_hz": 1e8})
    assert (hinted.sample_rate_hz, hinted.center_frequency_hz) == (1e6, 1e8)
