"""The passes over samples, numpy's and the compiled ones, against the plain formulas in double precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from heimdall_assets.dsp.grid import grid_for
from heimdall_assets.dsp.transform import NUM_SLOTS
from heimdall_assets_tests.dsp.signals import noise, tone

if TYPE_CHECKING:
    from heimdall_assets.dsp.passes import Passes


LENGTHS = [1024, 2401, 40_000, 150_001]
"""Small, odd, the usual, and more than one block a row."""


def chunks_of(length: int, rows: int = 3) -> np.ndarray[tuple[int, int], np.dtype[np.complex64]]:
    rng = np.random.default_rng(length)
    return np.array([noise(rng, length) + 0.3 for _ in range(rows)], np.complex64).reshape(rows, length)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_waveform_figures_are_those_of_the_formulas(passes: Passes, length: int) -> None:
    chunks = chunks_of(length)
    grid = grid_for(length, 1.0)
    waveform, _ = passes.transform(chunks, grid, slice(0, grid.num_bins))
    exact = chunks.astype(np.complex128)
    magnitude = np.abs(exact)
    assert waveform.power == pytest.approx((magnitude**2).mean(axis=1), rel=1e-6)
    assert waveform.mean_magnitude == pytest.approx(magnitude.mean(axis=1), rel=1e-6)
    assert waveform.peak_power == pytest.approx((magnitude**2).max(axis=1), rel=1e-6)
    changes = np.diff(np.signbit(exact.real).astype(int), axis=1) != 0
    assert waveform.crossings == pytest.approx(changes.mean(axis=1))
    slot = length // NUM_SLOTS
    slots = (magnitude[:, : slot * NUM_SLOTS] ** 2).reshape(len(chunks), NUM_SLOTS, slot).mean(axis=2)
    assert waveform.slot_power == pytest.approx(slots, rel=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_spectrum_is_that_of_the_hann_window(passes: Passes, length: int) -> None:
    chunks = chunks_of(length)
    grid = grid_for(length, 1.0)
    _, spectrum = passes.transform(chunks, grid, slice(0, grid.num_bins))
    size = grid.num_bins
    window = 1 - np.cos(2 * np.pi * np.arange(size) / size)
    plain = np.abs(np.fft.fftshift(np.fft.fft(chunks[:, :size] * window, axis=1), axes=1)) ** 2
    plain /= 1.5 * size**2
    np.testing.assert_allclose(spectrum.bin_power * spectrum.unit, plain, rtol=1e-3, atol=1e-6 * plain.max())
    bands = plain.reshape(len(chunks), grid.num_bands, -1)
    np.testing.assert_allclose(spectrum.band_power, bands.mean(axis=2), rtol=1e-4)
    np.testing.assert_allclose(spectrum.band_moment, bands @ np.arange(grid.bins_per_band), rtol=1e-4)
    assert np.array_equal(spectrum.peak, plain.argmax(axis=1))
    assert spectrum.dc_power == pytest.approx(np.abs(chunks[:, :size].mean(axis=1)) ** 2, rel=1e-4)


def test_the_spectrum_sums_to_the_power(passes: Passes) -> None:
    chunks = chunks_of(40_000)
    grid = grid_for(40_000, 1.0)
    waveform, spectrum = passes.transform(chunks, grid, slice(0, grid.num_bins))
    # the window weighs the samples: equal within chance, sqrt(0.94 / 40000) = 0.5 %; without it exactly
    assert spectrum.band_power.sum(axis=1) * grid.bins_per_band == pytest.approx(waveform.power, rel=0.02)
    everywhere = np.ones((len(chunks), grid.num_bands), bool)
    assert passes.power_in_bands(spectrum.coefficients, grid, everywhere) == pytest.approx(waveform.power, rel=1e-5)


@pytest.mark.parametrize("searched", [slice(0, 20_000), slice(10_000, 30_000), slice(20_000, 40_000)])
def test_the_peak_keeps_within_the_bins_searched(passes: Passes, searched: slice) -> None:
    chunks = chunks_of(40_000)
    grid = grid_for(40_000, 1.0)
    _, spectrum = passes.transform(chunks, grid, searched)
    assert np.array_equal(spectrum.peak, spectrum.bin_power[:, searched].argmax(axis=1) + searched.start)


@pytest.mark.parametrize("bin_number", [-512, -3, 0, 5, 511])
def test_the_coefficients_around_the_peak_are_those_of_the_peak(passes: Passes, bin_number: int) -> None:
    chunks = tone(bin_number / 1024, 1024, 1.0)[np.newaxis].astype(np.complex64)
    grid = grid_for(1024, 1.0)
    _, spectrum = passes.transform(chunks, grid, slice(0, 1024))
    assert spectrum.peak[0] + grid.first_bin == bin_number
    assert np.abs(spectrum.peak_bins[0]) == pytest.approx([0, 0, 1024, 0, 0], abs=0.01)


def test_the_power_in_marked_bands_needs_no_window(passes: Passes) -> None:
    grid = grid_for(4096, 1.0)
    chunks = np.zeros((2, 4096), np.complex64)
    chunks[0, :100] = tone(0.25, 100, 1.0)
    chunks[1, -100:] = tone(0.25, 100, 1.0)
    _, spectrum = passes.transform(chunks, grid, slice(0, 4096))
    everywhere = np.ones((2, grid.num_bands), bool)
    upper = everywhere.copy()
    upper[:, : grid.num_bands // 2] = False
    for marked, power in ((everywhere, 100 / 4096), (upper, 100 / 4096), (~upper, 0)):
        found = passes.power_in_bands(spectrum.coefficients, grid, marked)
        assert found == pytest.approx(power, rel=1e-5 if marked is everywhere else 0.03, abs=0.03 * 100 / 4096)
