"""The two implementations agree, and the compiled one is used where it can be."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heimdall_assets.dsp import analyze
from heimdall_assets.dsp.clipping import Extremes
from heimdall_assets.dsp.compiled import fourier
from heimdall_assets.dsp.excision import MeanPower
from heimdall_assets.dsp.front_end import FrontEnd
from heimdall_assets.dsp.grid import grid_for
from heimdall_assets.dsp.kernel import measure
from heimdall_assets.dsp.passband import Passband
from heimdall_assets.dsp.passes import PLAIN, Passes, current, using
from heimdall_assets.dsp.rows import Rows
from heimdall_assets_tests.dsp.signals import RATE_HZ, WAVEFORMS, noise, with_snr

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

POWERS = ("power", "peak_power", "noise_per_hz", "noise_power", "signal_power")
FREQUENCIES = ("carrier_hz", "centroid_hz", "rolloff_hz", "bandwidth_hz")
ONLY_WITH_A_SIGNAL = (*FREQUENCIES, "signal_power", "line_share", "snr_deviation")


def rows_of(passes: Passes, chunks: NDArray[np.complex64], passband: Passband | None = None) -> Rows:
    with using(passes):
        return measure(chunks, grid_for(chunks.shape[1], RATE_HZ), 1e-3, FrontEnd(passband), may_estimate=True)[0]


def assert_same(found: Rows, reference: Rows) -> None:
    """Powers within 0.01 dB, frequencies within 1 Hz: what the project asks for; what both make of rounding is less."""
    assert np.array_equal(found.is_present, reference.is_present)
    present = reference.is_present > 0
    for field in fields(Rows):
        here = present if field.name in ONLY_WITH_A_SIGNAL else slice(None)
        one, other = getattr(found, field.name)[here], getattr(reference, field.name)[here]
        if field.name in POWERS:
            np.testing.assert_allclose(10 * np.log10(one / other), 0, atol=0.01, err_msg=field.name)
        elif field.name in FREQUENCIES:
            np.testing.assert_allclose(one, other, rtol=0, atol=1.0, err_msg=field.name)
        else:
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5, err_msg=field.name)


@pytest.mark.parametrize("length", [1024, 2401, 40_000])
@pytest.mark.parametrize("name", [*sorted(WAVEFORMS), "noise"])
def test_both_implementations_give_the_same_figures(numba_passes: Passes, name: str, length: int) -> None:
    rng = np.random.default_rng([11, length])
    signals = [
        noise(rng, length) if name == "noise" else with_snr(WAVEFORMS[name](rng, length, RATE_HZ), snr_db, rng)
        for snr_db in (-20, -10, 0, 10, 20, 40, 60)
    ]
    chunks = np.array(signals, np.complex64)
    assert_same(rows_of(numba_passes, chunks), rows_of(PLAIN, chunks))


def test_both_implementations_keep_within_a_passband(numba_passes: Passes) -> None:
    rng = np.random.default_rng(12)
    chunks = np.array(
        [with_snr(WAVEFORMS["qpsk"](rng, 40_000, RATE_HZ), snr_db, rng) for snr_db in (-10, 0, 20)], np.complex64
    )
    passband = Passband(-71_234.0, 83_210.0, is_estimated=False)
    assert_same(rows_of(numba_passes, chunks, passband), rows_of(PLAIN, chunks, passband))


@given(
    seed=st.integers(0, 2**32 - 1),
    cells=st.integers(16, 400),
    spread=st.floats(0, 8),
    start=st.floats(0.01, 1.0),
    holes=st.booleans(),
)
@example(seed=1, cells=16, spread=0.0, start=1.0, holes=False)
@settings(max_examples=60)
def test_excision_needs_no_sorting(
    numba_passes: Passes, seed: int, cells: int, spread: float, start: float, holes: bool
) -> None:
    rng = np.random.default_rng(seed)
    powers = rng.gamma(16, 1 / 16, (3, cells)) * np.exp(spread * rng.standard_normal((3, cells)))
    powers[:, rng.integers(cells)] = np.inf if holes else 0.0
    distribution = MeanPower.of_hann_bins(32)
    found = numba_passes.excise(powers, distribution, start)
    np.testing.assert_allclose(found, PLAIN.excise(powers, distribution, start), rtol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), runs=st.integers(0, 12), rise_db=st.floats(-6, 60))
@settings(max_examples=60)
def test_both_implementations_find_the_same_bands(numba_passes: Passes, seed: int, runs: int, rise_db: float) -> None:
    rng = np.random.default_rng(seed)
    grid = grid_for(40_000, RATE_HZ)
    bands = rng.gamma(16.5, 1 / 16.5, (2, grid.num_bands))
    for first in rng.integers(grid.num_bands, size=runs):
        bands[rng.integers(2), first : first + 2 ** rng.integers(10)] += 10 ** (rise_db / 10) * rng.exponential()
    places = rng.integers(grid.num_bands, size=2)
    peaks = rng.uniform(0.5, 60, 2)
    found, reference = (
        passes.detect(bands, peaks, places, np.ones(2), grid, 1e-3, 0.05 * (runs % 2))
        for passes in (numba_passes, PLAIN)
    )
    np.testing.assert_allclose(found.margin, reference.margin, rtol=1e-9)
    assert np.array_equal(found.line, reference.line)
    assert np.array_equal(found.single, reference.single)
    assert np.array_equal(found.support, reference.support)


@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 3000),
    steps=st.sampled_from([1, 2, 5, 1000, 10**6]),
    offset=st.sampled_from([-2.0, 0.0, 2.0]),
)
@settings(max_examples=60)
def test_both_implementations_find_the_same_extremes(
    numba_passes: Passes, seed: int, length: int, steps: int, offset: float
) -> None:
    parts = np.random.default_rng(seed).integers(-steps, steps + 1, (3, 2 * length)) / steps + offset
    chunks = parts.astype(np.float32).view(np.complex64)
    found, reference = (passes.find_extremes(chunks) for passes in (numba_passes, PLAIN))
    for field in fields(Extremes):
        assert np.array_equal(getattr(found, field.name), getattr(reference, field.name)), field.name


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1023, 2500, 2999])
def test_an_extreme_of_samples_that_are_not_finite_is_not_finite(passes: Passes, place: int, bad: float) -> None:
    chunks = noise(np.random.default_rng(15), 3000).astype(np.complex64)
    chunks.view(np.float32)[2 * place + 1] = bad
    extremes = passes.find_extremes(np.stack([chunks, np.ones_like(chunks)]))
    is_finite = np.isfinite(extremes.highest) & np.isfinite(extremes.lowest)
    assert is_finite.tolist() == [False, True]


def test_the_compiled_implementation_is_the_usual_one(numba_passes: Passes) -> None:
    assert current() is numba_passes


def test_a_choice_holds_in_its_thread_and_its_block_alone(numba_passes: Passes) -> None:
    with using(PLAIN), ThreadPoolExecutor(1) as pool:
        assert current() is PLAIN
        assert pool.submit(current).result() is numba_passes
    assert current() is numba_passes


def run(program: str, **environment: str) -> str:
    """Run a program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    ).stdout


MEASURE = """
import numpy as np
from heimdall_assets.dsp import analyze, passes
time_s = np.arange(40_000) / 200e3
samples = np.exp(2j * np.pi * 12_345.6 * time_s) + 0.1 * np.random.default_rng(1).standard_normal(40_000)
print(passes.current().name, analyze(samples, 200e3).features["frequency_offset_hz"]["mean"])
"""


def test_without_numba_everything_is_measured_by_numpy() -> None:
    name, frequency_hz = run(f"import sys; sys.modules['numba'] = None\n{MEASURE}").split()
    assert name == "numpy"
    assert float(frequency_hz) == pytest.approx(12_345.6, abs=0.01)


@pytest.mark.parametrize("length", [1024, 2400, 40_000, 40_007])
@pytest.mark.parametrize("library", ["ducc0", "scipy"])
def test_the_fourier_transforms_of_both_libraries_are_the_same(
    monkeypatch: pytest.MonkeyPatch, library: str, length: int
) -> None:
    assert vars(fourier)["ducc_fft"] is not None  # the tests' own requirements hold it
    if library == "scipy":
        monkeypatch.setattr(fourier, "ducc_fft", None)
    rng = np.random.default_rng(16)
    samples = noise(rng, 5 * length).astype(np.complex64)
    samples.flags.writeable = False
    chunks = samples.reshape(5, length)[:, : length - length % 8]
    found = fourier.coefficients_of(chunks)
    reference = np.fft.fft(chunks.astype(np.complex128), axis=1)
    # single precision: its unit roundoff, times the square root of the number of stages
    assert np.sqrt(np.mean(np.abs(found - reference) ** 2) / np.mean(np.abs(reference) ** 2)) < 6e-8 * 16**0.5
    assert found.dtype == np.dtype(np.complex64)
    assert found.flags.c_contiguous
    assert found.flags.writeable


def test_without_ducc0_the_fourier_transforms_are_those_of_scipy_and_no_thread_is_left() -> None:
    with_it, without = (
        run(f"import os, sys\n{hidden}{MEASURE}print(len(os.listdir('/proc/self/task')))")
        for hidden in ("", "sys.modules['ducc0'] = None")
    )
    (_, frequency_hz), (threads,) = (line.split() for line in with_it.splitlines())
    (name, other_hz), (other_threads,) = (line.split() for line in without.splitlines())
    assert name == "numba"
    assert float(frequency_hz) == pytest.approx(float(other_hz), abs=1e-3)
    assert threads == other_threads


def test_where_no_machine_code_can_be_kept_numpy_is_used_and_says_why() -> None:
    # as numba does where neither the package's folder nor the user's cache folder is writable
    program = f"""
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from numba.core import caching
caching.CacheImpl._locator_classes = []
{MEASURE}"""
    said, result = run(program).strip().rsplit("\n", 1)
    assert "NUMBA_CACHE_DIR" in said
    assert result.split()[0] == "numpy"


def test_an_input_that_may_not_be_written_to_is_measured(passes: Passes, tmp_path: Path) -> None:
    samples = with_snr(WAVEFORMS["cw"](np.random.default_rng(13), 40_000, RATE_HZ), 10, np.random.default_rng(14))
    path = tmp_path / "unaligned.bin"
    path.write_bytes(b"x" + samples.astype(np.complex64).tobytes())
    unaligned = np.memmap(path, np.uint8, "r")[1:].view(np.complex64)
    with using(passes):
        assert analyze(unaligned, RATE_HZ).features == analyze(samples, RATE_HZ).features
