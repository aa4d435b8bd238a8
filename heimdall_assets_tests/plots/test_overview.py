"""The overview: right levels, every peak of a short recording, bounded work on a long one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from heimdall_assets.plots.overview import MAX_COLUMNS, MAX_SAMPLES, PIECE_SAMPLES, overview_of
from heimdall_assets_tests.dsp.signals import noise, tone

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE_HZ = 48_000.0


class Recorded:
    """Samples in memory, with the interface of an open file; keeps account of what is read."""

    def __init__(self, samples: NDArray[np.complex128], repeats: int = 1) -> None:
        self._samples = samples.astype(np.complex64)
        self.num_samples = samples.size * repeats
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, count: int) -> NDArray[np.complex64]:
        stop = min(start + count, self.num_samples)
        self.reads.append((start, stop - start))
        return self._samples[np.arange(start, stop) % self._samples.size]


def test_white_noise_has_its_density_everywhere() -> None:
    overview = overview_of(Recorded(noise(np.random.default_rng(1), 400_000)), RATE_HZ)
    power = 10 ** (overview.density_dbm_per_hz.astype(float) / 10)
    assert 10 * np.log10(power.mean()) == pytest.approx(30 - 10 * np.log10(RATE_HZ), abs=0.05)
    assert np.abs(10 * np.log10(power.mean(axis=1)) - 30 + 10 * np.log10(RATE_HZ)).max() < 1
    assert overview.share_read == 1
    assert overview.duration_s == pytest.approx(400_000 / RATE_HZ)


@pytest.mark.parametrize("frequency_hz", [-18_000.0, 0.0, 11_250.0])
def test_a_tone_is_in_the_row_of_its_frequency_at_every_time(frequency_hz: float) -> None:
    overview = overview_of(Recorded(tone(frequency_hz, 100_000, RATE_HZ)), RATE_HZ)
    rows = overview.density_dbm_per_hz.argmax(axis=0)
    frame = overview.frame_samples
    assert set(rows.tolist()) == {round(frequency_hz / RATE_HZ * frame) + frame // 2}
    power = (10 ** (overview.density_dbm_per_hz.astype(float) / 10)).sum(axis=0) * RATE_HZ / frame
    np.testing.assert_allclose(10 * np.log10(power), 30, atol=0.05)


def test_one_strong_sample_of_a_short_recording_is_seen_where_it_is() -> None:
    samples = tone(1_000, 300_000, RATE_HZ)
    samples[123_456] = 50
    overview = overview_of(Recorded(samples), RATE_HZ)
    columns = overview.largest.size
    assert overview.largest.argmax() == 123_456 * columns // 300_000
    assert overview.largest.max() * overview.reference == pytest.approx(50, rel=1e-5)
    assert overview.reference == pytest.approx(np.sqrt(np.mean(np.abs(samples) ** 2)), rel=1e-3)
    assert overview.least.min() * overview.reference == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("count", [1024, 1025, 4095, 65_537])
def test_short_recordings_are_read_to_the_last_sample(count: int) -> None:
    recorded = Recorded(noise(np.random.default_rng(2), count))
    overview = overview_of(recorded, RATE_HZ)
    assert overview.share_read == 1
    assert max(start + length for start, length in recorded.reads) == count
    assert np.isfinite(overview.density_dbm_per_hz).all()
    assert np.isfinite(overview.rms).all()


def test_a_recording_of_a_billion_samples_costs_no_more_than_one_of_sixteen_million() -> None:
    recorded = Recorded(noise(np.random.default_rng(3), 4096), repeats=250_000)
    overview = overview_of(recorded, RATE_HZ, max_samples=MAX_SAMPLES // 16)
    lengths = [length for _, length in recorded.reads]
    assert sum(lengths) <= MAX_SAMPLES // 16
    assert max(lengths) <= PIECE_SAMPLES
    assert overview.density_dbm_per_hz.shape[1] == MAX_COLUMNS
    assert overview.share_read == pytest.approx(sum(lengths) / recorded.num_samples)
    starts = [start for start, _ in recorded.reads]
    assert starts == sorted(starts)
    last_start, last_length = recorded.reads[-1]
    assert last_start + last_length == recorded.num_samples


def test_a_column_of_a_middling_recording_is_read_piece_by_piece() -> None:
    recorded = Recorded(noise(np.random.default_rng(4), 4096), repeats=2048)
    overview = overview_of(recorded, RATE_HZ)
    assert overview.share_read == 1
    assert sum(length for _, length in recorded.reads) == recorded.num_samples


def test_samples_that_are_no_numbers_blank_their_columns_and_no_others() -> None:
    samples = noise(np.random.default_rng(5), 100_000)
    samples[50_000] = np.nan
    overview = overview_of(Recorded(samples), RATE_HZ)
    blank = np.isnan(overview.rms)
    assert blank.sum() == 1
    assert 1 <= np.isnan(overview.density_dbm_per_hz).all(axis=0).sum() <= 5  # frames of neighbours overlap
    assert np.isfinite(overview.reference)


def test_a_gap_of_zeros_has_no_power_at_all() -> None:
    samples = noise(np.random.default_rng(6), 100_000)
    samples[40_000:60_000] = 0
    overview = overview_of(Recorded(samples), RATE_HZ)
    middle = overview.rms.size // 2
    assert overview.rms[middle] == 0
    assert np.isneginf(overview.density_dbm_per_hz[:, middle]).all()
