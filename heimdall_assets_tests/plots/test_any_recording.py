"""Any finite recording can be drawn, without a warning: warnings are errors here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heimdall_assets.plots.overview import overview_of
from heimdall_assets.plots.recording import recording_png
from heimdall_assets.plots.view import RecordingView, view_of
from heimdall_assets_tests.dsp.signals import noise, tone
from heimdall_assets_tests.plots.test_overview import Recorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Make = Callable[[np.random.Generator, int], NDArray[np.complex128]]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


class Recording(Recorded):
    """Samples in memory that say nothing of themselves."""

    format = "cf32"
    center_frequency_hz = None
    start_time = None


def seen(samples: NDArray[np.complex128], rate_hz: float, chunks: int = 1) -> RecordingView:
    chunk_ms = 1000 * (samples.size // chunks + 0.5) / rate_hz
    return view_of(Recording(samples), name="x", sample_rate_hz=rate_hz, chunk_duration_ms=chunk_ms)  # type: ignore[arg-type]  # an IQFile to view_of


def with_gaps(rng: np.random.Generator, count: int) -> NDArray[np.complex128]:
    samples = noise(rng, count)
    samples[count // 5 : count // 3] = 0
    samples[count // 2 : count // 2 + 70] = 0
    return samples


def lone_sample(rng: np.random.Generator, count: int) -> NDArray[np.complex128]:
    samples = np.zeros(count, complex)
    samples[rng.integers(count)] = 1
    return samples


def drooping(rng: np.random.Generator, count: int) -> NDArray[np.complex128]:
    gains = 10 ** (-6 * np.fft.fftfreq(count) ** 2)
    return np.fft.ifft(np.fft.fft(noise(rng, count)) * gains) + 0.1 * tone(0.1, count, 1.0)


def narrow(rng: np.random.Generator, count: int) -> NDArray[np.complex128]:
    inside = np.abs(np.fft.fftfreq(count)) < 0.05
    return np.fft.ifft(np.fft.fft(noise(rng, count)) * inside) + 1e-5 * noise(rng, count)


def jumping(rng: np.random.Generator, count: int) -> NDArray[np.complex128]:
    return noise(rng, count) * np.where(np.arange(count) < count // 2, 1.0, 1e-20)


MAKES: dict[str, Make] = {
    "noise": noise,
    "tone": lambda _, count: tone(0.123, count, 1.0),
    "constant": lambda _, count: np.ones(count, complex),
    "lone sample": lone_sample,
    "gaps": with_gaps,
    "drooping": drooping,
    "narrow": narrow,
    "jumping": jumping,
    "real": lambda rng, count: noise(rng, count).real.astype(complex),
}


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(sorted(MAKES)),
    count=st.one_of(st.just(1024), st.integers(1024, 30_000)),
    exponent=st.one_of(st.sampled_from([-44, -30, 0, 20, 37]), st.integers(-44, 37)),
    rate_hz=st.sampled_from([0.01, 12_000.0, 250_000.0, 1e12]),
    chunks=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_any_finite_recording_is_drawn(
    name: str, count: int, exponent: int, rate_hz: float, chunks: int, seed: int
) -> None:
    samples = MAKES[name](np.random.default_rng(seed), count)
    samples *= 10.0**exponent / np.abs(samples).max()
    view = seen(samples, rate_hz, chunks if count >= 1024 * chunks else 1)
    assert recording_png(view).startswith(PNG_MAGIC)
    assert np.isfinite(view.overview.largest).all()
    assert view.overview.largest.max() >= 1
    assert view.overview.reference > 0


@pytest.mark.parametrize("exponent", [-40, -30, 0, 20, 30])
def test_levels_do_not_depend_on_what_single_precision_can_square(exponent: int) -> None:
    plain = noise(np.random.default_rng(1), 20_000)
    expected = overview_of(Recorded(plain), 48_000.0)
    overview = overview_of(Recorded(plain * 10.0**exponent), 48_000.0)
    tolerance_db = 0.1 if exponent < -37 else 1e-3  # the numbers themselves have few digits there
    difference_db = overview.density_dbm_per_hz - expected.density_dbm_per_hz - 20 * exponent
    assert np.median(np.abs(difference_db)) < tolerance_db
    np.testing.assert_allclose(overview.rms, expected.rms, rtol=1e-2 if exponent < -37 else 1e-5)


def test_a_long_recording_of_which_only_zeros_are_looked_at_is_drawn() -> None:
    samples = np.zeros(60_000, complex)
    samples[1000:1300] = tone(0.1, 300, 1.0)
    view = seen(samples, 48_000.0, chunks=10)
    empty = overview_of(Recorded(np.zeros(4096, complex)), 48_000.0)
    assert recording_png(replace(view, overview=empty)).startswith(PNG_MAGIC)
