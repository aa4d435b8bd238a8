"""How right the figures are: seeded Monte-Carlo, 60 chunks of 40,000 samples at 200 kHz a row.

Tolerances are the project's bars. With 60 chunks the mean of an SNR error of 0.06 dB rms is known to 0.01 dB, that
of a bandwidth error of 3 % to 0.4 %.
"""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, noise, qpsk_bandwidth_hz, tone, with_snr
from heimdall_assets_tests.dsp.trials import measured, noise_chunks, trials

CHUNKS = 60


def test_the_floor_of_noise_is_unbiased() -> None:
    rows = noise_chunks(600, LENGTH, seed=1)
    assert np.mean(10 * np.log10(rows.noise_power)) == pytest.approx(0, abs=0.05)


def test_the_floor_of_short_chunks_of_noise_is_unbiased() -> None:
    rows = noise_chunks(4000, 2400, seed=2)
    assert np.mean(10 * np.log10(rows.noise_power)) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("length", "chunks", "probability"), [(LENGTH, 1500, 1e-2), (2400, 15_000, 1e-3), (2400, 6000, 1e-2)]
)
def test_false_alarms_are_at_most_twice_as_frequent_as_asked_for(length: int, chunks: int, probability: float) -> None:
    rows = noise_chunks(chunks, length, seed=3, probability=probability)
    assert rows.is_present.mean() <= 2 * probability


@pytest.mark.parametrize("snr_db", [-10, 0, 10, 20, 30, 40])
def test_the_snr_of_a_carrier_is_right_within_a_fifth_of_a_db(snr_db: float) -> None:
    result = trials("cw", snr_db, CHUNKS)
    assert result.detected == 1
    assert result.snr_rmse_db <= 0.2


def test_a_carrier_of_minus_28_db_is_found() -> None:
    assert trials("cw", -28, CHUNKS).detected >= 0.95


@pytest.mark.parametrize("snr_db", [-10, 10, 40])
def test_the_frequency_of_a_carrier_reaches_the_cramer_rao_bound(snr_db: float) -> None:
    # 1.15 of the bound; the rms of 200 errors is itself known to 5 %
    rng = np.random.default_rng(4)
    frequencies_hz = rng.uniform(-0.4, 0.4, 200) * RATE_HZ
    tones = (tone(f, LENGTH, RATE_HZ, rng.uniform(0, 6)) for f in frequencies_hz)
    errors_hz = [
        measured(with_snr(waveform, snr_db, rng)[np.newaxis]).carrier_hz[0] - f
        for waveform, f in zip(tones, frequencies_hz, strict=True)
    ]
    variance = 6 / ((2 * np.pi) ** 2 * 10 ** (snr_db / 10) * LENGTH * (LENGTH**2 - 1))
    assert np.sqrt(np.mean(np.square(errors_hz))) <= 1.15 * RATE_HZ * np.sqrt(variance)


@pytest.mark.parametrize("snr_db", [10, 25, 40])
def test_two_tones_occupy_their_spacing(snr_db: float) -> None:
    result = trials("two_tones", snr_db, CHUNKS, true_bandwidth_hz=lambda _: 0.1 * RATE_HZ)
    assert result.snr_bias_db == pytest.approx(0, abs=0.1)
    assert result.bandwidth_bias == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize(("snr_db", "bandwidth_tolerance"), [(0, 0.05), (10, 0.02), (40, 0.02)])
def test_narrow_band_fm_is_measured_from_0_db(snr_db: float, bandwidth_tolerance: float) -> None:
    result = trials("nbfm", snr_db, CHUNKS)
    assert result.snr_bias_db == pytest.approx(0, abs=0.1)
    assert result.bandwidth_bias == pytest.approx(0, abs=bandwidth_tolerance)


@pytest.mark.parametrize("snr_db", [0, 10, 40])
def test_qpsk_is_measured_from_0_db(snr_db: float) -> None:
    result = trials("qpsk", snr_db, CHUNKS, true_bandwidth_hz=lambda _: qpsk_bandwidth_hz(RATE_HZ))
    assert result.snr_bias_db == pytest.approx(0, abs=0.1)
    assert result.bandwidth_bias == pytest.approx(0, abs=0.02)


def test_the_snr_of_qpsk_at_minus_10_db_is_right_within_a_third_of_a_db() -> None:
    assert trials("qpsk", -10, CHUNKS).snr_bias_db == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("snr_db", [0, 10, 40])
def test_a_burst_of_a_quarter_of_the_chunk_is_measured_from_0_db(snr_db: float) -> None:
    result = trials("burst", snr_db, CHUNKS)
    assert result.snr_bias_db == pytest.approx(0, abs=0.1)
    assert result.bandwidth_bias == pytest.approx(0, abs=0.02)


def test_where_in_the_chunk_a_weak_burst_lies_does_not_matter() -> None:
    # a window over the chunk would weigh bursts at its ends with almost nothing: 3 dB rms
    assert trials("burst", -5, CHUNKS).snr_rmse_db <= 0.2


@pytest.mark.parametrize("snr_db", [0, 10, 20, 40])
def test_a_signal_that_fills_four_fifths_of_the_band_is_measured_from_0_db(snr_db: float) -> None:
    result = trials("noise_like", snr_db, CHUNKS, true_bandwidth_hz=lambda _: 0.99 * 0.8 * RATE_HZ)
    assert result.snr_bias_db == pytest.approx(0, abs=0.1)
    assert result.bandwidth_bias == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("snr_db", [-5, 0, 5, 10])
def test_ofdm_is_measured_up_to_10_db(snr_db: float) -> None:
    assert trials("ofdm", snr_db, CHUNKS).snr_bias_db == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize(("snr_db", "bias_db"), [(0, -0.22), (10, -1.0)])
def test_few_wide_carriers_reach_the_noise_with_their_sidelobes_as_documented(snr_db: float, bias_db: float) -> None:
    # 52 of 64 carriers: the sidelobes' lowest level is known, and no estimate of white noise can be below it
    assert trials("wlan_ofdm", snr_db, CHUNKS).snr_bias_db == pytest.approx(bias_db, abs=0.15)


@pytest.mark.parametrize("snr_db", [30, 40])
def test_ofdm_whose_sidelobes_bury_the_noise_gets_no_confidence(snr_db: float) -> None:
    result = trials("ofdm", snr_db, 20)
    assert result.snr_bias_db < -3
    assert result.rows.floor_trust.max() < 0.5
    assert result.rows.confidence.mean() < 0.1


def test_the_level_of_the_signal_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    samples = with_snr(tone(12_345.6, LENGTH, RATE_HZ), 10, rng)
    weak, strong = measured(1e-7 * samples[np.newaxis]), measured(1e6 * samples[np.newaxis])
    assert weak.signal_power / weak.noise_power == pytest.approx(strong.signal_power / strong.noise_power, rel=1e-3)
    assert weak.carrier_hz == pytest.approx(strong.carrier_hz, abs=1e-4)


def test_noise_alone_has_the_envelope_of_noise() -> None:
    # sqrt(pi) / 2 and sqrt(1 - pi / 4); 40,000 samples know them to 0.0023 and 0.0016 (one standard deviation)
    rows = measured(noise(np.random.default_rng(6), LENGTH)[np.newaxis])
    mean = rows.mean_magnitude / np.sqrt(rows.power)
    assert mean == pytest.approx(np.sqrt(np.pi) / 2, abs=0.007)
    assert rows.crossings == pytest.approx(0.5, abs=0.01)
