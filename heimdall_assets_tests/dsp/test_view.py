"""The view of a spectrum: it agrees with the figures, whatever the signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from heimdall_assets.dsp import analyze, spectrum_view
from heimdall_assets.errors import AllZero, BadParameter, NotFinite, TooShort
from heimdall_assets_tests.dsp.signals import RATE_HZ, WAVEFORMS, noise, noise_like, rounded, tone, with_snr

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTH = 3 * 10_000
OPTIONS: dict[str, Any] = {"chunk_duration_ms": 50.0, "num_chunks": 3}


def signal(name: str, snr_db: float = 15.0) -> NDArray[np.complex128]:
    rng = np.random.default_rng(11)
    return with_snr(WAVEFORMS[name](rng, LENGTH, RATE_HZ), snr_db, rng)


@pytest.mark.parametrize("name", ["cw", "two_tones", "nbfm", "qpsk", "burst", "noise_like", "ofdm", "am"])
def test_edges_noise_and_carrier_are_those_of_the_figures(name: str) -> None:
    samples = signal(name)
    view = spectrum_view(samples, RATE_HZ, **OPTIONS)
    figures = analyze(samples, RATE_HZ, **OPTIONS)
    assert view.figures == figures
    widths_hz = view.edges_hz[:, 1] - view.edges_hz[:, 0]
    bandwidth = figures.features["bandwidth_hz"]
    assert widths_hz.mean() == pytest.approx(bandwidth["mean"], rel=1e-9)
    assert widths_hz.min() == pytest.approx(bandwidth["min"], rel=1e-9)
    assert widths_hz.max() == pytest.approx(bandwidth["max"], rel=1e-9)
    assert view.noise_dbm_per_hz == figures.features["psd_dbm_per_hz"]["mean"]
    assert view.carrier_hz == figures.features["frequency_offset_hz"]["mean"]


@pytest.mark.parametrize("name", ["cw", "qpsk", "noise_like"])
def test_the_densities_add_up_to_the_received_power(name: str) -> None:
    view = spectrum_view(signal(name), RATE_HZ, **OPTIONS)
    density = 10 ** (view.density_dbm_per_hz / 10)
    total_dbm = 10 * np.log10(np.sum(density * np.diff(view.band_edges_hz)))
    assert total_dbm == pytest.approx(view.figures.features["rssi_dbm"]["mean"], abs=0.15)
    assert (view.peak_density_dbm_per_hz >= view.density_dbm_per_hz).all()


def test_the_support_holds_the_carrier_and_little_else() -> None:
    view = spectrum_view(with_snr(tone(12_345.6, LENGTH, RATE_HZ), 20, np.random.default_rng(2)), RATE_HZ, **OPTIONS)
    band = np.searchsorted(view.band_edges_hz, 12_345.6) - 1
    assert view.support_share[band] == 1
    assert np.count_nonzero(view.support_share) < 0.02 * view.support_share.size
    assert np.argmax(view.density_dbm_per_hz) == band


def test_noise_alone_has_neither_support_nor_edges_nor_carrier() -> None:
    view = spectrum_view(noise(np.random.default_rng(3), LENGTH), RATE_HZ, **OPTIONS)
    assert not view.support_share.any()
    assert view.edges_hz.shape == (0, 2)
    assert view.carrier_hz is None
    assert view.noise_dbm_per_hz == pytest.approx(30 - 10 * np.log10(RATE_HZ), abs=0.1)
    assert np.median(view.density_dbm_per_hz) == pytest.approx(view.noise_dbm_per_hz, abs=0.3)


def test_a_signal_in_one_chunk_of_three_has_edges_in_that_one() -> None:
    samples = noise(np.random.default_rng(4), LENGTH)
    samples[10_000:20_000] += 3 * tone(-50_000, 10_000, RATE_HZ)
    view = spectrum_view(samples, RATE_HZ, **OPTIONS)
    assert view.figures.features["signal_present"]["mean"] == pytest.approx(1 / 3)
    assert view.edges_hz.shape == (1, 2)
    assert view.edges_hz.mean() == pytest.approx(-50_000, abs=20)
    assert view.support_share.max() == 1


def test_an_estimated_passband_limits_the_view_as_it_does_the_figures() -> None:
    rng = np.random.default_rng(5)
    inside = noise_like(rng, LENGTH, RATE_HZ) + 3 * tone(5_000, LENGTH, RATE_HZ)
    view = spectrum_view(rounded(0.05 * inside, 16), RATE_HZ, **OPTIONS)
    assert view.figures.notes["passband_origin"] == "estimated"
    assert view.passband_hz is not None
    low_hz, high_hz = view.passband_hz
    assert [low_hz, high_hz] == view.figures.notes["passband_hz"]
    outside = (view.band_edges_hz[:-1] < low_hz) | (view.band_edges_hz[1:] > high_hz)
    assert outside.any()
    assert not view.support_share[outside].any()
    widths_hz = view.edges_hz[:, 1] - view.edges_hz[:, 0]
    assert widths_hz.mean() == pytest.approx(view.figures.features["bandwidth_hz"]["mean"], rel=1e-9)


def test_the_mean_is_taken_off_where_that_is_asked_for() -> None:
    samples = noise(np.random.default_rng(6), LENGTH) + 2
    kept = spectrum_view(samples, RATE_HZ, **OPTIONS)
    removed = spectrum_view(samples, RATE_HZ, remove_dc=True, **OPTIONS)
    middle = kept.support_share.size // 2
    assert kept.support_share[middle] == 1
    assert not removed.support_share.any()


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_extreme_levels_move_the_spectrum_by_that_many_decibels(factor: float) -> None:
    samples = signal("qpsk")
    moved = spectrum_view(samples * factor, RATE_HZ, **OPTIONS).density_dbm_per_hz - 20 * np.log10(factor)
    np.testing.assert_allclose(moved, spectrum_view(samples, RATE_HZ, **OPTIONS).density_dbm_per_hz, atol=0.01)


def test_calibration_is_added_to_every_power() -> None:
    plain, calibrated = (spectrum_view(signal("cw"), RATE_HZ, calibration_db=db, **OPTIONS) for db in (30.0, -7.0))
    np.testing.assert_allclose(calibrated.density_dbm_per_hz, plain.density_dbm_per_hz - 37, atol=1e-9)
    assert calibrated.noise_dbm_per_hz == pytest.approx((plain.noise_dbm_per_hz or 0) - 37)


def test_chunks_of_zeros_are_left_out() -> None:
    samples = signal("qpsk")
    samples[:10_000] = 0
    view = spectrum_view(samples, RATE_HZ, **OPTIONS)
    assert view.figures.notes["zero_chunks"] == 1
    only = spectrum_view(samples[10_000:], RATE_HZ, **{**OPTIONS, "num_chunks": 2})
    np.testing.assert_allclose(view.density_dbm_per_hz, only.density_dbm_per_hz)


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        (np.ones(1023, np.complex64), TooShort),
        (np.zeros(5000, np.complex64), AllZero),
        (np.full(5000, np.nan, np.complex64), NotFinite),
        (np.ones((2, 5000), np.complex64), BadParameter),
    ],
)
def test_what_cannot_be_measured_is_refused(samples: NDArray[np.complex64], error: type[Exception]) -> None:
    with pytest.raises(error):
        spectrum_view(samples, RATE_HZ)
