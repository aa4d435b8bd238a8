"""Three KiwiSDRs that received DCF77 at one moment (github.com/hcab14/TDoA, folder iq/)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from heimdall_assets.iq import load_iq, open_iq

FOLDER = Path(__file__).parents[2].parent / "shared" / "real_iq" / "dcf77_20171127"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recordings are not on this machine")

RECORDINGS = [
    ("DF0KL", 12001.145, 687, -32.970, 15.945),
    ("F1JEK", 12001.202, 680, -13.575, 15.259),
    ("HB9RYZ", 12001.132, 691, -14.629, 2.925),
]


@pytest.mark.parametrize(("station", "rate_hz", "blocks", "power_db", "peak_to_average_db"), RECORDINGS)
def test_rate_length_and_power_are_those_that_were_measured(
    station: str, rate_hz: float, blocks: int, power_db: float, peak_to_average_db: float
) -> None:
    recording = load_iq(FOLDER / f"20171127T104156Z_77500_{station}_iq.wav")
    power = np.abs(recording.samples.astype(np.complex128)) ** 2
    assert recording.format == "kiwi"
    assert recording.sample_rate_hz == pytest.approx(rate_hz, abs=0.001)
    assert len(recording.samples) == blocks * 512
    assert recording.center_frequency_hz == 77_500.0
    assert 10 * np.log10(power.mean()) == pytest.approx(power_db, abs=0.001)
    assert 10 * np.log10(power.max() / power.mean()) == pytest.approx(peak_to_average_db, abs=0.001)


def test_the_three_recordings_begin_within_half_a_second_of_each_other() -> None:
    # the name's time is the first recorder's clock, to the second
    for station, *_ in RECORDINGS:
        with open_iq(FOLDER / f"20171127T104156Z_77500_{station}_iq.wav") as recording:
            assert recording.start_time is not None
            seconds = (recording.start_time - datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)).total_seconds()
            assert -0.1 < seconds < 0.4


def test_the_carrier_of_dcf77_stands_at_the_centre() -> None:
    recording = load_iq(FOLDER / "20171127T104156Z_77500_HB9RYZ_iq.wav")
    assert recording.sample_rate_hz is not None
    spectrum = np.abs(np.fft.fft(recording.samples))
    peak_hz = np.fft.fftfreq(len(spectrum), 1 / recording.sample_rate_hz)[int(spectrum.argmax())]
    assert abs(peak_hz) < 0.1


@pytest.mark.parametrize("station", [row[0] for row in RECORDINGS])
def test_pieces_are_those_of_the_whole(station: str) -> None:
    path = FOLDER / f"20171127T104156Z_77500_{station}_iq.wav"
    whole = load_iq(path).samples
    with open_iq(path) as recording:
        for start, count in [(0, 2400), (2399, 4801), (345_000, 10**6)]:
            assert np.array_equal(recording.read(start, count), whole[start : start + count])
