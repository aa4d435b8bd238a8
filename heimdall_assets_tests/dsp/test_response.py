"""The response of a receiver's front end: estimated where it is not known, used where it is."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heimdall_assets.dsp import analyze, extract_features
from heimdall_assets.dsp.front_end import FrontEnd
from heimdall_assets.dsp.grid import grid_for
from heimdall_assets.dsp.kernel import examine
from heimdall_assets.dsp.passes import PLAIN, Passes, using
from heimdall_assets.dsp.response import STEP_PRICE, Response, partition
from heimdall_assets.dsp.transform import strongest_bins
from heimdall_assets.errors import BadParameter
from heimdall_assets_tests.dsp.receivers import SHAPES, amplitudes, droop, through
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, WAVEFORMS, Real, Samples, noise, tone, with_snr

GNSS = Path(__file__).parents[2].parent / "shared" / "real_iq" / "single" / "gps_l1_4MHz_1575420kHz.cf32"


def found_in(samples: Samples, length: int, passes: Passes = PLAIN) -> tuple[Real, Response | None]:
    """Return the relative noise of each band that the analysis assumes, and the response that it comes from."""
    grid = grid_for(length, RATE_HZ)
    chunks = np.ascontiguousarray(samples.reshape(-1, length), np.complex64)
    with using(passes):
        found = examine(chunks, grid, 1e-3, FrontEnd(), may_estimate=True)
    relative = np.ones(grid.num_bands) if found.response is None else found.response
    return relative, found.front.response


def true_response(name: str, depth_db: float, count: int) -> Real:
    position = (2 * np.arange(count) + 1) / count - 1
    return amplitudes(droop(name, depth_db), position) ** 2


@pytest.mark.parametrize("length", [LENGTH, 2400])
@pytest.mark.parametrize("depth_db", [3.0, 9.0])
@pytest.mark.parametrize("name", sorted({*SHAPES} - {"half_band_long"}))  # 9 dB in a 25th of the band are an edge
def test_noise_through_a_front_end_gives_its_response(name: str, depth_db: float, length: int) -> None:
    rng = np.random.default_rng([1, sorted(SHAPES).index(name)])
    relative, response = found_in(through(noise(rng, 5 * length), droop(name, depth_db)), length)
    assert response is not None
    assert response.is_estimated
    error_db = 10 * np.log10(relative / true_response(name, depth_db, len(relative)))
    # five chunks of 2400 samples know the level of a tenth of the band to 0.17 dB
    assert np.sqrt(np.mean(error_db**2)) < (0.15 if length == LENGTH else 0.45)


@pytest.mark.parametrize("length", [LENGTH, 2400])
def test_white_noise_stays_white(length: int) -> None:
    rng = np.random.default_rng(2)
    responses = [found_in(noise(rng, 5 * length), length)[1] for _ in range(20)]
    assert sum(response is not None for response in responses) <= 2


@pytest.mark.parametrize("snr_db", [0, 10, 20])
@pytest.mark.parametrize("name", ["noise_like", "qpsk", "nbfm", "two_tones", "chirp"])
def test_a_signal_over_white_noise_is_no_response(name: str, snr_db: float) -> None:
    rng = np.random.default_rng(3)
    relative, _ = found_in(with_snr(WAVEFORMS[name](rng, 5 * LENGTH, RATE_HZ), snr_db, rng), LENGTH)
    assert np.abs(10 * np.log10(relative)).max() < 0.5


@pytest.mark.parametrize("name", ["quadratic", "cic", "tilt", "half_band"])
def test_a_wide_signal_with_steep_edges_leaves_the_response_to_be_seen(name: str) -> None:
    rng = np.random.default_rng(4)
    samples = with_snr(WAVEFORMS["noise_like"](rng, 5 * LENGTH, RATE_HZ), 15, rng)
    relative, response = found_in(through(samples, droop(name, 3)), LENGTH)
    assert response is not None
    assert response.is_doubtful  # sidelobes would look alike
    inner = slice(len(relative) // 20, -len(relative) // 20)
    error_db = 10 * np.log10(relative / true_response(name, 3, len(relative)))[inner]
    assert np.abs(error_db).max() < 0.6


def test_a_known_response_is_used() -> None:
    rng = np.random.default_rng(5)
    shape = droop("quadratic", 12)
    samples = through(with_snr(tone(61_000, 5 * LENGTH, RATE_HZ), 0, rng), shape)
    offsets_hz = np.linspace(-RATE_HZ / 2, RATE_HZ / 2, 101)
    pairs = np.column_stack([offsets_hz, shape(2 * offsets_hz / RATE_HZ)])
    figures = analyze(samples, RATE_HZ, response=pairs)
    assert figures.notes["response_origin"] == "given"
    assert figures.notes["response_db"] == pytest.approx(np.round(pairs, 2), abs=0.06)
    gain = amplitudes(shape, 2 * np.fft.fftfreq(5 * LENGTH).astype(np.float64))
    true_snr_db = 20 * np.log10(gain[round(61_000 / RATE_HZ * 5 * LENGTH)])
    assert figures.features["snr_db"]["mean"] == pytest.approx(true_snr_db, abs=0.1)
    assert figures.features["noise_floor_dbm"]["mean"] == pytest.approx(30, abs=0.05)
    assert extract_features(samples, RATE_HZ, response=pairs.tolist()) == figures.features


def test_a_flat_known_response_leaves_a_wide_smooth_signal_a_signal() -> None:
    rng = np.random.default_rng(6)
    smooth = through(noise(rng, 5 * LENGTH), droop("quadratic", 6))
    assert analyze(smooth, RATE_HZ).features["signal_present"]["mean"] == 0
    known = analyze(smooth, RATE_HZ, response=[(0.0, 0.0)])
    assert known.features["signal_present"]["mean"] == 1


def test_frequencies_that_a_known_response_suppresses_are_left_out() -> None:
    rng = np.random.default_rng(7)
    pairs = [(-60_001.0, -60.0), (-60_000.0, 0.0), (60_000.0, 0.0), (60_001.0, -60.0)]
    figures = analyze(noise(rng, 5 * LENGTH), RATE_HZ, response=pairs)
    assert figures.notes["passband_hz"] == pytest.approx([-60_000, 60_000], abs=400)
    assert figures.features["noise_floor_dbm"]["mean"] == pytest.approx(30 + 10 * np.log10(0.6), abs=0.1)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ([], r"response of shape \(0,\) must be pairs"),
        ([1.0, 2.0], r"response of shape \(2,\) must be pairs"),
        ([(0, 0, 0)], r"response of shape \(1, 3\) must be pairs"),
        ("flat", "response must be pairs"),
        ([(0, float("nan"))], "response holds values that are not finite"),
        ([(0, 0), (0, 1)], "response: offset 0 Hz follows 0 Hz; offsets rise"),
        ([(5, 0), (-5, 1)], "response: offset -5 Hz follows 5 Hz; offsets rise"),
        ([(0, 1e4)], r"response: 10000 dB is not within \+-300 dB"),
    ],
)
def test_a_response_that_is_none_is_refused(response: object, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        analyze(np.ones(2000), RATE_HZ, response=response)  # type: ignore[arg-type]


@given(
    levels=st.lists(st.floats(-5, 5), min_size=1, max_size=9),
    precision=st.floats(0.1, 100),
    price=st.floats(0, 20),
)
@settings(max_examples=60)
def test_no_other_steps_are_cheaper(levels: list[float], precision: float, price: float) -> None:
    values = np.array(levels)

    def cost(borders: tuple[int, ...]) -> float:
        pieces = np.split(values, borders)
        return sum(0.5 * precision * float(np.sum((p - p.mean()) ** 2)) for p in pieces) + price * len(borders)

    inner = range(1, len(values))
    least = min(cost(borders) for n in range(len(values)) for borders in itertools.combinations(inner, n))
    found, stretches = partition(values, precision, price)
    assert found == pytest.approx(least, rel=1e-9, abs=1e-9)
    assert cost(tuple(np.flatnonzero(np.diff(stretches)) + 1)) == pytest.approx(least, rel=1e-9, abs=1e-9)


@given(seed=st.integers(0, 2**32 - 1), cells=st.integers(1, 200), steps=st.integers(0, 9))
@settings(max_examples=40)
def test_both_implementations_find_the_same_steps(numba_passes: Passes, seed: int, cells: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.standard_normal(cells) / 8
    for first in rng.integers(cells, size=steps):
        levels[first:] += rng.standard_normal()
    cost, stretches = partition(levels, 64.0, STEP_PRICE)
    same_cost, same_stretches = numba_passes.partition(levels, 64.0, STEP_PRICE)
    assert same_cost == pytest.approx(cost, rel=1e-9)
    assert np.array_equal(same_stretches, stretches)


@given(seed=st.integers(0, 2**32 - 1), first=st.integers(0, 9), count=st.integers(1, 10))
@settings(max_examples=40)
def test_both_implementations_find_the_same_strongest_bins(
    numba_passes: Passes, seed: int, first: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    power = rng.exponential(size=(3, 20 * 8)).astype(np.float32)
    response = rng.uniform(0.1, 2, 20)
    bands = slice(first, first + count)
    expected = strongest_bins(power, response, bands)
    ratio = np.where(np.repeat(np.isin(np.arange(20), range(first, first + count)), 8), power, 0)
    assert np.array_equal(expected, (ratio / np.repeat(response, 8)).argmax(axis=1))
    assert np.array_equal(numba_passes.strongest_bins(power, response, bands), expected)


@pytest.mark.parametrize("name", ["quadratic", "roll_off", "tilt"])
def test_both_implementations_estimate_the_same_response(numba_passes: Passes, name: str) -> None:
    rng = np.random.default_rng(8)
    samples = through(with_snr(WAVEFORMS["qpsk"](rng, 5 * LENGTH, RATE_HZ), 10, rng), droop(name, 5))
    one, other = found_in(samples, LENGTH)[0], found_in(samples, LENGTH, numba_passes)[0]
    np.testing.assert_allclose(one, other, rtol=1e-3)


@pytest.mark.skipif(not GNSS.is_file(), reason=f"{GNSS} is not there")
def test_a_gnss_receiver_has_its_response_and_only_its_spurs_stand_out() -> None:
    samples = np.fromfile(GNSS, np.complex64).astype(np.complex128)
    figures = analyze(samples, 4e6)
    assert figures.notes["response_origin"] == "estimated"
    gains_db = np.array(figures.notes["response_db"])[:, 1]
    assert 8 < gains_db.max() - gains_db.min() < 11
    # A line of constant phase, 38 dB over the noise of a bin: a spur of the receiver, and to any analysis a carrier.
    assert figures.features["frequency_offset_hz"]["mean"] == pytest.approx(-417_685, abs=100)
    assert figures.features["snr_db"]["mean"] == pytest.approx(-8.1, abs=0.3)
    without = without_lines(samples, 4e6, (-417_700, -599_200, -506_300, 516_750, 1_379_300))
    figures = analyze(without, 4e6)
    assert figures.features["signal_present"]["mean"] == 0
    assert figures.features["snr_db"]["mean"] is None


def without_lines(samples: Samples, rate_hz: float, lines_hz: tuple[float, ...]) -> Samples:
    """Replace what lies within 400 Hz of some lines by what lies within 8 kHz beside them."""
    spectrum = np.fft.fft(samples)
    frequency_hz = np.fft.fftfreq(samples.size, 1 / rate_hz)
    rng = np.random.default_rng(9)
    for line_hz in lines_hz:
        distance_hz = np.abs(frequency_hz - line_hz)
        near = distance_hz < 400
        beside = np.flatnonzero(~near & (distance_hz < 8000))
        spectrum[near] = spectrum[rng.choice(beside, np.count_nonzero(near))]
    result: Samples = np.fft.ifft(spectrum)
    return result
