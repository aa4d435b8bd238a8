"""The rows of the accuracy report: what is measured of which signal, and the bar that it has to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp import analyze
from heimdall_assets.dsp.notes import TRUSTED_FLOOR
from heimdall_assets_tests.benchmarks.intervals import Line, bias_line, rate_line, rmse_line
from heimdall_assets_tests.dsp.calibration import (
    HELD_OUT_CLASSES,
    NOISE,
    Outcomes,
    expected_calibration_error,
    outcomes,
)
from heimdall_assets_tests.dsp.plain import PlainFigures, plain_figures
from heimdall_assets_tests.dsp.signals import (
    LENGTH,
    RATE_HZ,
    WAVEFORMS,
    Samples,
    clipped,
    noise,
    qpsk_bandwidth_hz,
    rounded,
    tone,
    with_snr,
)
from heimdall_assets_tests.dsp.trials import Trials, measured, noise_chunks, trials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

PLAIN_CHUNKS = 10
"""Chunks that the replaced estimators are shown: their errors are not subtle."""

LEAST_DETECTED = 0.95
SURE = 0.5
"""A confidence above this claims that the figures are right."""

DC_DB = -20.0
"""A constant part this strong, over the noise."""


@dataclass(frozen=True)
class Row:
    """A row of the project's table of bars; a bar is None where none was set."""

    waveform: str
    snrs_db: tuple[float, ...]
    bias_db: float | None = None
    rmse_db: float | None = None
    bandwidth: float | None = None
    true_bandwidth_hz: float | None = None


QPSK_HZ = qpsk_bandwidth_hz(RATE_HZ)

ROWS = (
    Row("cw", (-10, 0, 10, 20, 30, 40), rmse_db=0.2),
    Row("two_tones", (10, 20, 30, 40), bias_db=0.1, bandwidth=0.005, true_bandwidth_hz=0.1 * RATE_HZ),
    Row("nbfm", (0,), bias_db=0.1, bandwidth=0.05),
    Row("nbfm", (10, 20, 30, 40), bias_db=0.1, bandwidth=0.02),
    Row("qpsk", (-10,), bias_db=0.3),
    Row("qpsk", (0, 10, 20, 30, 40), bias_db=0.1, bandwidth=0.02, true_bandwidth_hz=QPSK_HZ),
    Row("burst", (0, 10, 20, 30, 40), bias_db=0.1, bandwidth=0.02),
    Row("noise_like", (0, 10, 20, 30, 40), bias_db=0.1, bandwidth=0.005, true_bandwidth_hz=0.99 * 0.8 * RATE_HZ),
    Row("ofdm", (-5, 0, 5, 10), bias_db=0.3),
    Row("wlan_ofdm", (-5, 0, 5, 10)),  # see docs/accuracy.md: its sidelobes reach the noise from 5 dB on
)

WEAK_DB = {
    "cw": (-34.0, -31.0, -28.0),
    "two_tones": (-28.0, -25.0),
    "nbfm": (-20.0, -15.0),
    "qpsk": (-20.0, -15.0),
    "burst": (-20.0, -15.0),
    "noise_like": (-15.0, -10.0),
    "ofdm": (-20.0, -15.0),
}
"""Where detection begins."""


def noise_lines(seed: int, count: int) -> Iterator[Line]:
    """Noise alone: the floor, and false alarms."""
    rng = np.random.default_rng(seed)
    plain = [plain_figures(noise(rng, LENGTH), RATE_HZ) for _ in range(PLAIN_CHUNKS)]
    floor_db = float(np.mean([figures.noise_db for figures in plain]))
    present = float(np.mean([figures.is_present for figures in plain]))
    for length, probability, chunks in (
        (LENGTH, 1e-3, count),
        (LENGTH, 1e-2, max(count // 6, 1)),
        (2400, 1e-3, count),
        (2400, 1e-2, max(count // 3, 1)),
    ):
        rows = noise_chunks(chunks, length, seed, probability=probability)
        title = f"noise, {length} samples"
        if probability == 1e-3:
            yield bias_line(title, "floor bias dB", None, 10 * np.log10(rows.noise_power), 0.05, floor_db)
        figure = f"false alarms at {probability:g}"
        yield rate_line(title, figure, None, rows.is_present, 2 * probability, at_least=False, plain=present)


def signal_lines(row: Row, snr_db: float, seed: int, count: int) -> Iterator[Line]:
    """One signal at one SNR."""
    name, exact_hz = row.waveform, row.true_bandwidth_hz
    truth: Callable[[NDArray[np.complex128]], float] | None = None if exact_hz is None else lambda _: exact_hz
    result = trials(name, snr_db, count, seed=seed, true_bandwidth_hz=truth)
    plain = _plain(name, snr_db, seed)
    errors_db = np.array([figures.snr_db - snr_db for figures in plain])
    yield bias_line(name, "SNR bias dB", snr_db, result.snr_error_db, row.bias_db, float(errors_db.mean()))
    plain_rmse_db = float(np.sqrt(np.mean(errors_db**2)))
    yield rmse_line(name, "SNR rmse dB", snr_db, result.snr_error_db, row.rmse_db, plain_rmse_db)
    if row.bandwidth is not None:
        true_hz = _bandwidth_hz(result)
        plain_ratio = float(np.mean([figures.bandwidth_hz for figures in plain])) / true_hz - 1
        yield bias_line(name, "bandwidth bias", snr_db, result.bandwidth_ratio - 1, row.bandwidth, plain_ratio)
    yield _detection_line(name, snr_db, result, LEAST_DETECTED, plain)


def weak_lines(seed: int, count: int) -> Iterator[Line]:
    """Where detection begins, and the bar of the weakest carrier."""
    for name, snrs_db in WEAK_DB.items():
        for snr_db in snrs_db:
            bar = LEAST_DETECTED if (name, snr_db) == ("cw", -28.0) else None
            result = trials(name, snr_db, 3 * count if bar else count, seed=seed)
            yield _detection_line(name, snr_db, result, bar, _plain(name, snr_db, seed))


def _detection_line(name: str, snr_db: float, result: Trials, bar: float | None, plain: list[PlainFigures]) -> Line:
    present = float(np.mean([figures.is_present for figures in plain]))
    return rate_line(name, "detected", snr_db, result.rows.is_present, bar, at_least=True, plain=present)


def _plain(waveform: str, snr_db: float, seed: int) -> list[PlainFigures]:
    rng = np.random.default_rng([seed, 99])
    signals = (WAVEFORMS[waveform](rng, LENGTH, RATE_HZ) for _ in range(PLAIN_CHUNKS))
    return [plain_figures(with_snr(signal, snr_db, rng), RATE_HZ) for signal in signals]


def _bandwidth_hz(result: Trials) -> float:
    return float(np.nanmean(result.rows.bandwidth_hz / result.bandwidth_ratio))


def buried_lines(seed: int, count: int) -> Iterator[Line]:
    """OFDM whose sidelobes bury the noise: the floor has to be called an upper bound, not an SNR claimed."""
    for snr_db in (20.0, 30.0, 40.0):
        is_buried = snr_db >= 30  # at 20 dB the SNR is 1 dB off, and right as often as not
        result = trials("ofdm", snr_db, count, seed=seed)
        wrong = (np.abs(result.snr_error_db) > 1) & (result.rows.confidence > SURE)
        bar = 1 - LEAST_DETECTED if is_buried else None
        yield rate_line("ofdm", "sure but 1 dB off", snr_db, wrong, bar, at_least=False, plain=1.0)
        bar = LEAST_DETECTED if is_buried else None
        is_bound = result.rows.floor_trust < TRUSTED_FLOOR
        yield rate_line("ofdm", "floor said to be bound", snr_db, is_bound, bar, at_least=True)


def carrier_lines(seed: int, count: int) -> Iterator[Line]:
    """A carrier's frequency against the Cramer-Rao bound."""
    rng = np.random.default_rng([seed, 7])
    for snr_db in (-10, 0, 10, 20, 30, 40):
        variance = 6 / ((2 * np.pi) ** 2 * 10 ** (snr_db / 10) * LENGTH * (LENGTH**2 - 1))
        errors: list[float] = []
        plain: list[float] = []
        for _ in range(5 * count):
            frequency_hz = rng.uniform(-0.4, 0.4) * RATE_HZ
            samples = with_snr(tone(frequency_hz, LENGTH, RATE_HZ, rng.uniform(0, 6)), snr_db, rng)
            errors.append(measured(samples[np.newaxis]).carrier_hz[0] - frequency_hz)
            if len(plain) < PLAIN_CHUNKS:
                plain.append(plain_figures(samples, RATE_HZ).frequency_hz - frequency_hz)
        bound_hz = RATE_HZ * np.sqrt(variance)
        plain_ratio = float(np.sqrt(np.mean(np.square(plain))) / bound_hz)
        yield rmse_line("cw", "frequency rmse / bound", snr_db, np.array(errors) / bound_hz, 1.15, plain_ratio)


def dc_lines(seed: int, count: int) -> Iterator[Line]:
    """Noise with a constant part: a carrier where the receiver is not known to have an offset, else nothing."""
    rng = np.random.default_rng([seed, 8])
    chunks = 5
    kept: list[float] = []
    removed: list[float] = []
    frequencies_hz: list[float] = []
    plain: list[bool] = []
    for _ in range(4 * count):
        samples = noise(rng, chunks * LENGTH).astype(np.complex64) + np.complex64(10 ** (DC_DB / 20))
        figures = analyze(samples, RATE_HZ)
        kept.append(figures.features["signal_present"]["mean"] or 0.0)
        frequencies_hz.append(figures.features["frequency_offset_hz"]["mean"] or np.nan)
        features = analyze(samples, RATE_HZ, remove_dc=True).features
        removed.append(features["signal_present"]["mean"] or 0.0)
        if len(plain) < PLAIN_CHUNKS:
            plain.append(plain_figures(samples[:LENGTH].astype(np.complex128), RATE_HZ).is_present)
    present = float(np.mean(plain))
    yield rate_line(
        "DC spike", "reported by default", DC_DB, np.array(kept), LEAST_DETECTED, at_least=True, plain=present
    )
    yield bias_line("DC spike", "frequency bias Hz", DC_DB, np.array(frequencies_hz), 0.05)
    yield rate_line(
        "DC spike", "reported with remove_dc", DC_DB, np.array(removed), 2e-3, at_least=False, plain=present
    )


def clipped_lines(seed: int, count: int) -> Iterator[Line]:
    """Samples beyond the rail: flagged, with their fraction; others not."""
    rng = np.random.default_rng([seed, 9])

    def flags(make: Callable[[], tuple[Samples, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        found, errors = [], []
        for _ in range(count):
            samples, fraction = make()
            notes = analyze(samples, RATE_HZ).notes
            found.append(float(notes["clipped"]))
            errors.append(notes["clipped_fraction"] / fraction - 1 if fraction else 0.0)
        return np.array(found), np.array(errors)

    def over(waveform: str, rail_rms: float) -> tuple[Samples, float]:
        samples = with_snr(WAVEFORMS[waveform](rng, LENGTH, RATE_HZ), 20, rng)
        parts = samples.view(np.float64)
        rail = rail_rms * float(np.sqrt(np.mean(parts**2)))
        return clipped(samples, rail), float(np.mean(np.abs(parts) >= rail))

    def within(waveform: str) -> tuple[Samples, float]:
        samples = with_snr(WAVEFORMS[waveform](rng, LENGTH, RATE_HZ), 20, rng)
        return rounded(0.9 * samples / np.abs(samples.view(np.float64)).max(), 8), 0.0

    for waveform, rail_rms in (("qpsk", 1.5), ("noise_like", 2.5), ("cw", 1.3)):
        found, errors = flags(lambda waveform=waveform, rail_rms=rail_rms: over(waveform, rail_rms))  # type: ignore[misc]
        signal = f"{waveform}, clipped"
        yield rate_line(signal, "flagged", 20, found, 1.0, at_least=True, plain=0.0)
        yield bias_line(signal, "clipped fraction bias", 20, errors, 0.01)
    found, _ = flags(lambda: within("qpsk"))
    yield rate_line("qpsk in 8 bits", "flagged", 20, found, 0.0, at_least=False, plain=0.0)


def confidence_outcomes(seed: int, count: int) -> Outcomes:
    """Measure classes that the confidence was not fitted to."""
    return outcomes((*HELD_OUT_CLASSES, NOISE), count, seed + 100)


def confidence_line(result: Outcomes, seed: int) -> Line:
    """Calibration of confidence_score on those."""
    probability = result.probability()
    error = expected_calibration_error(probability, result.is_right)
    rng = np.random.default_rng(seed)
    resampled = [
        expected_calibration_error(probability[chosen], result.is_right[chosen])
        for chosen in rng.integers(probability.size, size=(200, probability.size))
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Line("held-out classes", "calibration error", None, error, float(low), float(high), 0.05, error <= 0.05)
