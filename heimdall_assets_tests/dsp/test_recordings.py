"""Real recordings: DCF77 on three KiwiSDR receivers, 27 November 2017."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from heimdall_assets.dsp import Figures, analyze

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(__file__).parents[2].parent / "shared" / "real_iq" / "dcf77_20171127"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there")

RATES_HZ = {"DF0KL": 12_001.145, "F1JEK": 12_001.202, "HB9RYZ": 12_001.132}
"""True sample rates, from the GNSS time stamps in the files."""

RSSI_DBFS = {"DF0KL": -31.595, "F1JEK": -13.727, "HB9RYZ": -14.528}
WHOLE_FILE_DBFS = {"DF0KL": -32.970, "F1JEK": -13.575, "HB9RYZ": -14.629}
STATIONS = sorted(RATES_HZ)


def samples_of(station: str) -> NDArray[np.complex64]:
    """All samples: 16-bit I and Q from the data chunks of a RIFF file that has hundreds of them."""
    content = next(FOLDER.glob(f"*_{station}_iq.wav")).read_bytes()
    position, parts = 12, []
    while position + 8 <= len(content):
        name, size = content[position : position + 4], struct.unpack_from("<I", content, position + 4)[0]
        if name == b"data":
            parts.append(np.frombuffer(content, "<i2", size // 2, position + 8))
        position += 8 + size
    return (np.concatenate(parts) / np.float32(32_768)).astype(np.float32).view(np.complex64)


@pytest.fixture(scope="module", params=STATIONS)
def station(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def median(figures: list[Figures], name: str) -> float:
    values = [aggregate for each in figures if (aggregate := each.features[name]["mean"]) is not None]
    return float(np.median(values))


def test_the_level_is_that_of_the_first_second(station: str) -> None:
    features = analyze(samples_of(station), RATES_HZ[station]).features
    assert (features["rssi_dbm"]["mean"] or 0) - 30 == pytest.approx(RSSI_DBFS[station], abs=0.01)


def test_the_samples_are_read_rightly(station: str) -> None:
    power = np.mean(np.abs(samples_of(station).astype(np.complex128)) ** 2)
    assert 10 * np.log10(power) == pytest.approx(WHOLE_FILE_DBFS[station], abs=0.01)


def test_the_time_signal_is_found_in_every_chunk_on_its_frequency_with_its_bandwidth(station: str) -> None:
    samples, rate_hz = samples_of(station), RATES_HZ[station]
    length = int(0.2 * rate_hz)
    chunks = [analyze(samples[i : i + length], rate_hz) for i in range(0, samples.size - length + 1, length)]
    assert len(chunks) >= 145
    assert all(each.features["signal_present"]["mean"] == 1 for each in chunks)
    # over the rounding outside of the filter it would be 76 dB and more
    assert all((each.features["snr_db"]["mean"] or 0) < 50 for each in chunks)
    assert median(chunks, "frequency_offset_hz") == pytest.approx(0, abs=0.05)
    # phase modulation with chips of 645 Hz
    assert 550 <= median(chunks, "bandwidth_hz") <= 850


@pytest.mark.parametrize("name", ["F1JEK", "HB9RYZ"])
def test_the_first_second_has_the_same_bandwidth(name: str) -> None:
    # at DF0KL the phase modulation lies under the noise, and the carrier alone stands out
    bandwidth_hz = analyze(samples_of(name), RATES_HZ[name]).features["bandwidth_hz"]["mean"]
    assert 500 <= (bandwidth_hz or 0) <= 850


def test_the_snr_is_that_inside_of_the_filter_and_of_its_response(station: str) -> None:
    # 2, 17 and 33 dB; over the rounding outside of the filter it would be 76 dB and more
    snr_db = analyze(samples_of(station), RATES_HZ[station]).features["snr_db"]["mean"]
    assert snr_db is not None
    assert 0 < snr_db < 45


def test_noise_is_looked_for_inside_of_the_filter(station: str) -> None:
    figures = analyze(samples_of(station), RATES_HZ[station], num_chunks=None)
    assert figures.notes["passband_origin"] == "estimated"
    assert figures.notes["passband_hz"] == pytest.approx([-2900, 2900], abs=150)
    assert (figures.features["snr_db"]["max"] or 0) < 50
    assert figures.notes["frequency_offset_is"] == "carrier"
    assert figures.notes["clipped"] is False


def test_the_known_filter_gives_the_same(station: str) -> None:
    samples, rate_hz = samples_of(station), RATES_HZ[station]
    found = analyze(samples, rate_hz, num_chunks=None).features["snr_db"]["mean"]
    known = analyze(samples, rate_hz, num_chunks=None, passband_hz=(-2900, 2900)).features["snr_db"]["mean"]
    assert known == pytest.approx(found, abs=0.5)


def test_a_floor_under_the_skirt_of_the_signal_is_said_to_be_a_bound() -> None:
    figures = analyze(samples_of("HB9RYZ"), RATES_HZ["HB9RYZ"], num_chunks=None)
    assert figures.notes["noise_floor_is_upper_bound"] is True
