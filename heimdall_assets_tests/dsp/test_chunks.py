"""Samples in, groups of chunks out."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from heimdall_assets.dsp import analyze, extract_features
from heimdall_assets.errors import AllZero, BadParameter, NotFinite, TooShort
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, noise, tone, with_snr

NOISE = noise(np.random.default_rng(1), 5 * LENGTH)


def test_less_than_1024_samples_are_too_short() -> None:
    with pytest.raises(TooShort, match="the recording has 1023 samples; at least 1024 are needed"):
        analyze(NOISE[:1023], RATE_HZ)


def test_a_recording_shorter_than_a_chunk_is_one_chunk() -> None:
    notes = analyze(NOISE[:1024], RATE_HZ).notes
    assert (notes["num_chunks"], notes["chunk_length"], notes["shorter_than_a_chunk"]) == (1, 1024, True)
    assert notes["chunk_duration_ms"] == 5.12


@pytest.mark.parametrize(("samples", "asked", "measured"), [(3.99, 5, 3), (5, 2, 2), (4.5, None, 4), (5, 9, 5)])
def test_a_remainder_is_left_out(samples: float, asked: int | None, measured: int) -> None:
    notes = analyze(NOISE[: int(samples * LENGTH)], RATE_HZ, num_chunks=asked).notes
    assert notes["num_chunks"] == measured


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, complex(0, np.nan), 1e300])
def test_a_sample_that_is_not_finite_is_named(bad: complex) -> None:
    samples = NOISE.copy()
    samples[LENGTH + 5] = bad
    with pytest.raises(NotFinite, match=r"sample 40005 is .*; 1 of 200000 examined are not finite"):
        analyze(samples, RATE_HZ)


def test_samples_after_the_chunks_asked_for_are_not_looked_at() -> None:
    samples = NOISE.copy()
    samples[2 * LENGTH] = np.nan
    assert analyze(samples, RATE_HZ, num_chunks=2).notes["num_chunks"] == 2


def test_nothing_but_zeros_is_an_error() -> None:
    with pytest.raises(AllZero, match="all 200000 samples are zero"):
        analyze(np.zeros(5 * LENGTH), RATE_HZ)


def test_nothing_but_an_offset_that_is_taken_off_is_an_error() -> None:
    with pytest.raises(AllZero, match="samples are zero once their mean is taken off"):
        analyze(np.full(5 * LENGTH, 0.1 - 0.3j), RATE_HZ, remove_dc=True)


def test_chunks_of_zeros_are_left_out_and_counted() -> None:
    samples = with_snr(tone(12_345.6, 5 * LENGTH, RATE_HZ), 10, np.random.default_rng(2))
    samples[LENGTH : 3 * LENGTH] = 0
    figures = analyze(samples, RATE_HZ)
    assert figures.notes["num_chunks"] == 3
    assert figures.notes["zero_chunks"] == 2
    assert figures.features["snr_db"]["mean"] == pytest.approx(10, abs=0.2)
    assert figures.features["signal_present"] == {"mean": 1.0, "std": 0.0, "min": 1.0, "max": 1.0}


def test_gaps_of_zeros_are_noted() -> None:
    samples = NOISE.copy()
    samples[: LENGTH // 2] = 0
    figures = analyze(samples, RATE_HZ)
    assert figures.notes["gap_share"] == pytest.approx(0.1)
    assert "10.0% of the time is gaps of zeros; what lies between them was measured." in figures.notes["remarks"]


@pytest.mark.parametrize(
    "same",
    [
        NOISE.astype(np.complex64),
        NOISE.astype(">c8"),
        NOISE.tolist(),
        np.repeat(NOISE, 2)[::2],
    ],
    ids=["complex64", "big-endian", "list", "strided"],
)
def test_the_kind_of_array_does_not_matter(same: Any) -> None:
    assert analyze(same, RATE_HZ).features == analyze(NOISE, RATE_HZ).features


def test_real_samples_are_complex_ones_without_imaginary_part() -> None:
    real = np.rint(1000 * NOISE.real)
    expected = analyze(real.astype(np.complex64), RATE_HZ).features
    assert analyze(real, RATE_HZ).features == expected
    assert analyze(real.astype(np.int16), RATE_HZ).features == expected


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (NOISE.reshape(2, -1), r"samples of shape \(2, 100000\) are not one-dimensional"),
        (np.array(["a"] * 5000), "samples of type <U1 are not numbers"),
        (np.ones(5000, bool), "samples of type bool are not numbers"),
        ([[1, 2], [3]], "samples are not an array"),
        (1.0, r"samples of shape \(\) are not one-dimensional"),
    ],
)
def test_what_is_no_line_of_numbers_is_refused(samples: Any, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        analyze(samples, RATE_HZ)


def test_the_samples_are_left_as_they_are() -> None:
    samples = NOISE.astype(np.complex64)
    samples.flags.writeable = False
    before = samples.copy()
    analyze(samples, RATE_HZ, remove_dc=True)
    assert np.array_equal(samples, before)


@pytest.mark.parametrize("factor", [1e-30, 1e-12, 1e12, 1e30])
def test_extreme_levels_are_measured_as_well(factor: float) -> None:
    samples = with_snr(tone(12_345.6, 5 * LENGTH, RATE_HZ), 10, np.random.default_rng(3))
    plain, extreme = analyze(samples, RATE_HZ).features, analyze(factor * samples, RATE_HZ).features
    shift_db = 20 * np.log10(factor)
    for name in ("rssi_dbm", "noise_floor_dbm", "psd_dbm_per_hz"):
        assert extreme[name]["mean"] == pytest.approx((plain[name]["mean"] or 0) + shift_db, abs=1e-3)
    for name in ("snr_db", "frequency_offset_hz", "bandwidth_hz", "envelope_mean", "peak_to_avg_ratio_db"):
        assert extreme[name]["mean"] == pytest.approx(plain[name]["mean"], rel=1e-3)


def test_the_mean_is_taken_off_where_the_receiver_has_an_offset() -> None:
    rng = np.random.default_rng(4)
    offset = with_snr(tone(12_345.6, 5 * LENGTH, RATE_HZ), 10, rng) + 30
    kept, removed = analyze(offset, RATE_HZ), analyze(offset, RATE_HZ, remove_dc=True)
    assert kept.features["frequency_offset_hz"]["mean"] == pytest.approx(0, abs=0.01)
    assert kept.notes["dc_share"] == pytest.approx(900 / 911, abs=0.01)
    assert removed.features["frequency_offset_hz"]["mean"] == pytest.approx(12_345.6, abs=0.01)
    assert removed.features["snr_db"]["mean"] == pytest.approx(10, abs=0.1)
    assert removed.notes["dc_removed"] is True
    assert removed.notes["dc_share"] < 1e-6


def test_a_small_offset_is_a_signal_unless_the_receiver_is_known_to_have_one() -> None:
    offset = NOISE + 0.1
    kept, removed = analyze(offset, RATE_HZ), analyze(offset, RATE_HZ, remove_dc=True)
    assert kept.features["signal_present"]["mean"] == 1
    assert kept.features["snr_db"]["mean"] == pytest.approx(-20, abs=0.5)
    assert any("remove_dc" in remark for remark in kept.notes["remarks"])
    assert removed.features["signal_present"]["mean"] == 0


def test_long_recordings_need_memory_for_one_group_of_chunks_only() -> None:
    samples = np.tile(NOISE.astype(np.complex64), 60)  # 96 MB, 300 chunks
    analyze(samples[:LENGTH], RATE_HZ)
    tracemalloc.start()
    try:
        figures = analyze(samples, RATE_HZ, num_chunks=None)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert figures.notes["num_chunks"] == 300
    group_bytes = 8 * (1 << 20)
    assert peak_bytes < 3 * group_bytes


def test_groups_make_no_difference() -> None:
    samples = np.tile(NOISE.astype(np.complex64), 7)
    whole = analyze(samples, RATE_HZ, num_chunks=None).features
    five = analyze(samples, RATE_HZ).features
    for name, aggregate in five.items():
        if aggregate["mean"] is not None:
            assert whole[name]["mean"] == pytest.approx(aggregate["mean"], rel=1e-6)
            assert whole[name]["max"] == pytest.approx(aggregate["max"], rel=1e-6)


def test_chunks_of_very_different_levels_are_measured_each() -> None:
    rng = np.random.default_rng(12)
    chunk = with_snr(tone(12_345.6, LENGTH, RATE_HZ), 10, rng)
    features = extract_features(np.concatenate([1e-25 * chunk, 1e12 * chunk]), RATE_HZ)
    assert features["snr_db"]["std"] == pytest.approx(0, abs=1e-3)
    assert features["rssi_dbm"]["max"] == pytest.approx((features["rssi_dbm"]["min"] or 0) + 740, abs=1e-3)
