"""Receivers that let only a part of the sampled band through."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets.dsp import analyze
from heimdall_assets.dsp.grid import grid_for
from heimdall_assets.dsp.passband import Passband, median_over_chunks
from heimdall_assets.errors import BadParameter
from heimdall_assets_tests.dsp.signals import (
    LENGTH,
    RATE_HZ,
    WAVEFORMS,
    Samples,
    noise,
    rounded,
    tone,
    with_snr,
)

KIWI_RATE_HZ = 12_001.0
KIWI_LENGTH = 12_000


def filtered(samples: Samples, half_width_hz: float, rate_hz: float) -> Samples:
    spectrum = np.fft.fft(samples)
    spectrum[np.abs(np.fft.fftfreq(samples.size, 1 / rate_hz)) > half_width_hz] = 0
    return np.fft.ifft(spectrum)


def kiwi(level: float, signal: Samples | float = 0.0, seed: int = 1) -> Samples:
    """One second as a KiwiSDR delivers it: +-5 kHz of noise of this amplitude before the filter, 16 bits."""
    rng = np.random.default_rng(seed)
    return rounded(filtered(level * noise(rng, KIWI_LENGTH) + signal, 5000, KIWI_RATE_HZ), 16)


@pytest.mark.parametrize("level", [1e-2, 1e-3, 1e-4, 5e-5])
def test_a_quiet_channel_of_a_filtered_receiver_is_quiet(level: float) -> None:
    figures = analyze(kiwi(level), KIWI_RATE_HZ)
    assert figures.notes["passband_origin"] == "estimated"
    assert figures.notes["passband_hz"] == pytest.approx([-5000, 5000], abs=300)
    assert figures.features["signal_present"]["mean"] == 0
    density = figures.features["psd_dbm_per_hz"]["mean"]
    # 0.4 dB: the weakest level is but six steps of 16 bits
    assert density == pytest.approx(30 + 10 * np.log10(level**2 / KIWI_RATE_HZ), abs=0.4)


def test_a_signal_in_an_estimated_passband_has_the_snr_of_that_passband() -> None:
    in_band = 10_000 / KIWI_RATE_HZ
    carrier = 1e-3 * np.sqrt(10 * in_band) * tone(1234.5, KIWI_LENGTH, KIWI_RATE_HZ)
    figures = analyze(kiwi(1e-3, carrier), KIWI_RATE_HZ)
    assert figures.features["frequency_offset_hz"]["mean"] == pytest.approx(1234.5, abs=0.05)
    # the estimated passband is up to 400 Hz narrower, 0.2 dB
    assert figures.features["snr_db"]["mean"] == pytest.approx(10, abs=0.3)


def test_a_given_passband_is_worked_in() -> None:
    rng = np.random.default_rng(2)
    inside, outside = tone(20_000, 5 * LENGTH, RATE_HZ), 30 * tone(90_000, 5 * LENGTH, RATE_HZ)
    samples = noise(rng, 5 * LENGTH) + inside + outside
    figures = analyze(samples, RATE_HZ, passband_hz=(-60_000, 60_000))
    assert figures.features["frequency_offset_hz"]["mean"] == pytest.approx(20_000, abs=0.1)
    assert figures.features["snr_db"]["mean"] == pytest.approx(10 * np.log10(200 / 120), abs=0.1)
    assert figures.features["noise_floor_dbm"]["mean"] == pytest.approx(30 + 10 * np.log10(0.6), abs=0.1)
    assert figures.features["psd_dbm_per_hz"]["mean"] == pytest.approx(30 - 10 * np.log10(RATE_HZ), abs=0.1)
    assert figures.notes["noise_bandwidth_hz"] == pytest.approx(120_000, rel=0.01)
    assert figures.notes["passband_origin"] == "given"


def test_noise_in_a_given_passband_is_no_signal() -> None:
    samples = filtered(noise(np.random.default_rng(3), 5 * LENGTH), 60_000, RATE_HZ)
    figures = analyze(samples, RATE_HZ, passband_hz=(-60_000, 60_000))
    assert figures.features["signal_present"]["mean"] == 0


def test_a_filter_is_found_without_rounding_if_a_signal_stands_out_of_its_noise() -> None:
    rng = np.random.default_rng(4)
    both = noise(rng, 5 * LENGTH) + tone(20_000, 5 * LENGTH, RATE_HZ)
    samples = filtered(both, 60_000, RATE_HZ) + 1e-3 * noise(rng, 5 * LENGTH)
    figures = analyze(samples, RATE_HZ)
    assert figures.notes["passband_hz"] == pytest.approx([-60_000, 60_000], abs=4500)
    assert figures.features["snr_db"]["mean"] == pytest.approx(10 * np.log10(200 / 120), abs=0.4)


@pytest.mark.parametrize("name", sorted(WAVEFORMS))
@pytest.mark.parametrize("snr_db", [5, 40])
def test_an_ordinary_signal_is_not_taken_for_a_filter(name: str, snr_db: float) -> None:
    rng = np.random.default_rng(5)
    samples = with_snr(WAVEFORMS[name](rng, LENGTH, RATE_HZ), snr_db, rng)
    scaled = rounded(0.1 * samples / np.abs(samples).max(), 16)
    for version in (samples, scaled):
        assert analyze(version, RATE_HZ).notes["passband_origin"] == "none"


def test_a_passband_too_narrow_for_a_floor_is_refused() -> None:
    with pytest.raises(BadParameter, match=r"passband_hz=\(0, 1000\) holds 5 bands of 160 Hz .* at least 16"):
        Passband(0, 1000, is_estimated=False).bands(grid_for(LENGTH, RATE_HZ))


@pytest.mark.parametrize("chunks", range(1, 12))
def test_the_median_of_few_chunks_is_that_of_many(chunks: int) -> None:
    bands = np.random.default_rng(chunks).gamma(16, 1 / 16, (chunks, 200))
    before = bands.copy()
    assert np.array_equal(median_over_chunks(bands), np.median(bands, axis=0))
    assert np.array_equal(bands, before)
