"""The public functions, from samples to aggregates and notes."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import hyp1f1

import heimdall_assets.dsp
from heimdall_assets.dsp import FEATURES, analyze, extract_features
from heimdall_assets.dsp.passes import PLAIN, Passes, using
from heimdall_assets.errors import AllZero, NotFinite, TooShort
from heimdall_assets_tests.dsp.signals import (
    LENGTH,
    RATE_HZ,
    WAVEFORMS,
    nbfm,
    noise,
    ofdm,
    qpsk,
    tone,
    with_snr,
)

TONE_HZ = 12_345.6


@pytest.fixture(scope="module")
def carrier() -> heimdall_assets.dsp.Figures:
    rng = np.random.default_rng(1)
    return analyze(with_snr(tone(TONE_HZ, 5 * LENGTH, RATE_HZ), 10, rng), RATE_HZ)


def test_the_result_has_all_features_in_the_order_of_the_registry(carrier: heimdall_assets.dsp.Figures) -> None:
    assert list(carrier.features) == [feature.name for feature in FEATURES]
    for aggregate in carrier.features.values():
        assert list(aggregate) == ["mean", "std", "min", "max"]
        values = list(aggregate.values())
        assert all(value is None for value in values) or all(
            type(value) is float and math.isfinite(value) for value in values
        )


def test_a_carrier_of_10_db_has_the_figures_of_theory(carrier: heimdall_assets.dsp.Figures) -> None:
    mean = {name: aggregate["mean"] for name, aggregate in carrier.features.items()}
    assert mean["rssi_dbm"] == pytest.approx(30 + 10 * np.log10(11), abs=0.03)
    assert mean["snr_db"] == pytest.approx(10, abs=0.05)
    assert mean["noise_floor_dbm"] == pytest.approx(30, abs=0.05)
    assert mean["psd_dbm_per_hz"] == pytest.approx(30 - 10 * np.log10(RATE_HZ), abs=0.05)
    assert mean["frequency_offset_hz"] == pytest.approx(TONE_HZ, abs=0.01)
    assert mean["spectral_centroid_hz"] == pytest.approx(TONE_HZ, abs=0.1)
    assert 0 < (mean["bandwidth_hz"] or 0) < 25
    assert mean["signal_present"] == 1
    assert (mean["confidence_score"] or 0) > 0.95
    # Rice's distribution with K = 10: E|x| / rms = sqrt(pi / 4 (1 + K)) 1F1(-1/2; 1; -K)
    rice = np.sqrt(np.pi / 44) * hyp1f1(-0.5, 1, -10)
    assert mean["envelope_mean"] == pytest.approx(rice, abs=0.001)
    assert mean["delay_spread_confidence"] == 0
    assert mean["multipath_delay_spread_us"] is None
    assert mean["coherence_bandwidth_khz"] is None


def test_a_tone_crosses_zero_twice_a_period() -> None:
    features = extract_features(tone(TONE_HZ, 5 * LENGTH, RATE_HZ), RATE_HZ)
    assert features["zero_crossing_rate"]["mean"] == pytest.approx(2 * TONE_HZ / RATE_HZ, abs=1e-4)
    assert features["envelope_mean"]["mean"] == pytest.approx(1, abs=1e-6)
    assert features["envelope_std"]["mean"] == pytest.approx(0, abs=1e-3)
    assert features["peak_to_avg_ratio_db"]["mean"] == pytest.approx(0, abs=1e-5)


def test_a_tone_without_noise_has_no_floor_and_no_snr() -> None:
    figures = analyze(tone(TONE_HZ, 5 * LENGTH, RATE_HZ), RATE_HZ)
    assert figures.features["signal_present"]["mean"] == 1
    assert figures.features["frequency_offset_hz"]["mean"] == pytest.approx(TONE_HZ, abs=1e-4)
    for name in ("snr_db", "noise_floor_dbm", "psd_dbm_per_hz"):
        assert figures.features[name] == {"mean": None, "std": None, "min": None, "max": None}
        assert "rounding of single precision" in figures.notes["null"][name]
    assert figures.notes["noise_floor_is_upper_bound"] is False


def test_noise_has_no_signal_figures_and_says_why() -> None:
    figures = analyze(noise(np.random.default_rng(2), 5 * LENGTH), RATE_HZ)
    assert figures.features["signal_present"] == {"mean": 0.0, "std": 0.0, "min": 0.0, "max": 0.0}
    for name in ("snr_db", "frequency_offset_hz", "bandwidth_hz", "spectral_centroid_hz", "spectral_rolloff_hz"):
        assert figures.features[name]["mean"] is None
        assert figures.notes["null"][name] == "no signal is present"
    assert figures.notes["frequency_offset_is"] is None


def test_aggregates_are_over_the_chunks_that_define_a_feature() -> None:
    rng = np.random.default_rng(3)
    samples = noise(rng, 5 * LENGTH)
    samples[: 2 * LENGTH] += np.sqrt(10) * tone(TONE_HZ, 2 * LENGTH, RATE_HZ)
    figures = analyze(samples, RATE_HZ)
    present = figures.features["signal_present"]
    assert (present["mean"], present["min"], present["max"]) == (0.4, 0.0, 1.0)
    assert present["std"] == pytest.approx(np.sqrt(0.24))  # of the population
    assert figures.features["snr_db"]["mean"] == pytest.approx(10, abs=0.1)
    assert figures.notes["defined_chunks"]["snr_db"] == 2
    assert "rssi_dbm" not in figures.notes["defined_chunks"]


def test_calibration_shifts_powers_and_nothing_else(carrier: heimdall_assets.dsp.Figures) -> None:
    rng = np.random.default_rng(1)
    shifted = analyze(with_snr(tone(TONE_HZ, 5 * LENGTH, RATE_HZ), 10, rng), RATE_HZ, calibration_db=-12.5)
    for name, aggregate in shifted.features.items():
        shift = -42.5 if name in {"rssi_dbm", "noise_floor_dbm", "psd_dbm_per_hz"} else 0.0
        reference = carrier.features[name]
        for key, value in aggregate.items():
            expected = reference[key]
            if expected is None:
                assert value is None
            else:
                assert value == pytest.approx(expected + (0 if key == "std" else shift))
    assert (carrier.notes["calibrated"], shifted.notes["calibrated"]) == (False, True)
    assert shifted.notes["calibration_db"] == -12.5


def test_the_offset_is_that_of_the_centroid_where_there_is_no_carrier() -> None:
    rng = np.random.default_rng(4)
    figures = analyze(with_snr(qpsk(rng, 5 * LENGTH, RATE_HZ), 20, rng), RATE_HZ)
    assert figures.notes["frequency_offset_is"] == "centroid"
    assert figures.features["frequency_offset_hz"] == figures.features["spectral_centroid_hz"]


def test_all_chunks_agree_on_whether_there_is_a_carrier() -> None:
    # a carrier of half the power, beside NBFM of the other half: single chunks fall on either side
    rng = np.random.default_rng(6)
    both = np.sqrt(0.5) * (tone(50_000, 5 * LENGTH, RATE_HZ) + nbfm(rng, 5 * LENGTH, RATE_HZ))
    offset = analyze(with_snr(both, 20, rng), RATE_HZ).features["frequency_offset_hz"]
    assert offset["std"] is not None
    assert offset["std"] < 500


def test_a_buried_floor_is_said_to_be_an_upper_bound() -> None:
    rng = np.random.default_rng(7)
    figures = analyze(with_snr(ofdm(rng, 5 * LENGTH, RATE_HZ), 30, rng), RATE_HZ)
    assert figures.notes["noise_floor_is_upper_bound"] is True
    assert (figures.features["confidence_score"]["mean"] or 0) < 0.1
    assert any("upper bound" in remark for remark in figures.notes["remarks"])


@pytest.mark.parametrize("name", sorted(WAVEFORMS))
def test_notes_are_json(name: str) -> None:
    rng = np.random.default_rng(8)
    figures = analyze(with_snr(WAVEFORMS[name](rng, LENGTH, RATE_HZ), 10, rng), RATE_HZ)
    assert json.loads(json.dumps(figures.notes, allow_nan=False)) == figures.notes


def test_extract_features_is_analyze_without_notes() -> None:
    samples = noise(np.random.default_rng(9), LENGTH)
    arguments = {"chunk_duration_ms": 50.0, "num_chunks": None, "calibration_db": 3.0, "remove_dc": True}
    assert extract_features(samples, RATE_HZ, **arguments) == analyze(samples, RATE_HZ, **arguments).features  # type: ignore[arg-type]


def test_threads_do_not_disturb_one_another() -> None:
    rng = np.random.default_rng(10)
    recordings = [with_snr(WAVEFORMS[name](rng, 5 * LENGTH, RATE_HZ), 10, rng) for name in sorted(WAVEFORMS)]
    alone = [extract_features(samples, RATE_HZ) for samples in recordings]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda samples: extract_features(samples, RATE_HZ), recordings * 3))
    assert together == alone * 3


def test_importing_the_room_is_cheap() -> None:
    program = "import sys, heimdall_assets.dsp; print({'scipy.stats', 'scipy.signal', 'numba'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_the_room_knows_numpy_scipy_errors_and_records_only_and_what_is_fast_where_it_compiles() -> None:
    room = Path(heimdall_assets.dsp.__file__).parent
    for path in room.rglob("*.py"):
        outside = {
            "numpy",
            "scipy",
            *(["numba", "ducc0"] if path.parent.name == "compiled" else []),
            *sys.stdlib_module_names,
        }
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                allowed = ("heimdall_assets.dsp.", "heimdall_assets.errors", "heimdall_assets.records")
                first = name.partition(".")[0]
                assert name.startswith(allowed) or first in outside, (path, name)


STRANGE = st.sampled_from([0.0, 1.0, -1.0, 1e-30, 1e-12, 1e12, 3e37, math.nan, math.inf, 1 / 32_768, 127.5])


@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1000, 5000),
    scale=st.sampled_from([1e-25, 1e-9, 1.0, 1e9]),
    values=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), STRANGE, STRANGE), max_size=4),
    remove_dc=st.booleans(),
)
@settings(max_examples=150)
def test_whatever_is_measured_is_finite_or_null_or_refused(
    numba_passes: Passes,
    seed: int,
    length: int,
    scale: float,
    values: list[tuple[float, float, float, float]],
    remove_dc: bool,
) -> None:
    """Noise in which stretches were replaced by constants, among them zeros, NaN and extremes."""
    samples = (scale * noise(np.random.default_rng(seed), length)).astype(np.complex64)
    for start, share, real, imaginary in values:
        first = int(start * length)
        samples[first : first + int(share * length) + 1] = np.complex64(complex(real, imaginary))
    for passes in (PLAIN, numba_passes):
        try:
            with using(passes):
                figures = analyze(samples, 20_000.0, chunk_duration_ms=100.0, num_chunks=None, remove_dc=remove_dc)
        except (AllZero, NotFinite, TooShort):
            continue
        for aggregate in figures.features.values():
            values_ = list(aggregate.values())
            assert all(value is None for value in values_) or all(
                value is not None and math.isfinite(value) for value in values_
            )
        json.dumps(figures.notes, allow_nan=False)


def test_a_recording_takes_less_than_three_times_its_own_memory(passes: Passes) -> None:
    samples = noise(np.random.default_rng(11), 5 * LENGTH).astype(np.complex64)
    with using(passes):
        extract_features(samples, RATE_HZ)
        tracemalloc.start()
        extract_features(samples, RATE_HZ)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert samples.nbytes + peak < 3 * samples.nbytes  # the samples themselves are not copied
