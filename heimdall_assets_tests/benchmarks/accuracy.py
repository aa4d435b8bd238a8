"""How right the features are: seeded Monte-Carlo over signals and SNRs, beside the bar that each has to keep.

    python -m heimdall_assets_tests.benchmarks.accuracy [--seed 1] [--chunks 60] [--noise-chunks 6000] [--json]

Chunks of 40,000 samples at 200 kHz unless said. Every figure has its 95 % interval: of a bias by the normal
distribution, of a root mean square error by its standard error, of a rate after Wilson (E. B. Wilson, "Probable
Inference, the Law of Succession, and Statistical Inference", Journal of the American Statistical Association 22,
1927). The last column is what plain estimators make of the same samples, those of the job that was replaced: noise
from the weakest 30 % of the bins, a signal wherever the total power exceeds it, bandwidth from the bins within 3 dB of
the peak, frequency from the peak. Exits 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets_tests.dsp.calibration import HELD_OUT_CLASSES, expected_calibration_error, outcomes
from heimdall_assets_tests.dsp.plain import plain_figures
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, WAVEFORMS, noise, qpsk_bandwidth_hz, tone, with_snr
from heimdall_assets_tests.dsp.trials import Trials, measured, noise_chunks, trials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

PLAIN_CHUNKS = 10
"""Chunks that the plain estimators are shown: their errors are not subtle."""


@dataclass(frozen=True)
class Line:
    """One figure of the table.

    Attributes
    ----------
    signal, figure : str
        What was measured.
    snr_db : float or None
        Of the signal in the sampled band.
    value, low, high : float
        The figure and its 95 % interval.
    bar : float
        The most that its magnitude may be; for a detection rate the least.
    holds : bool
        Whether the value keeps to the bar.
    plain : float or None
        The same figure of the plain estimators.
    """

    signal: str
    figure: str
    snr_db: float | None
    value: float
    low: float
    high: float
    bar: float
    holds: bool
    plain: float | None


@dataclass(frozen=True)
class Row:
    """A row of the project's table of bars."""

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
)


def bias_line(signal: str, figure: str, snr_db: float | None, errors: NDArray[np.float64], bar: float) -> Line:
    """Return the mean of errors."""
    kept = errors[np.isfinite(errors)]
    value, margin = float(kept.mean()), 1.96 * float(kept.std(ddof=1)) / np.sqrt(kept.size)
    return Line(signal, figure, snr_db, value, value - margin, value + margin, bar, abs(value) <= bar, None)


def rmse_line(signal: str, figure: str, snr_db: float | None, errors: NDArray[np.float64], bar: float) -> Line:
    """Return the root mean square of errors."""
    kept = errors[np.isfinite(errors)]
    value = float(np.sqrt(np.mean(kept**2)))
    margin = 1.96 * value / np.sqrt(2 * kept.size)
    return Line(signal, figure, snr_db, value, value - margin, value + margin, bar, value <= bar, None)


def rate_line(
    signal: str, figure: str, snr_db: float | None, hits: NDArray[np.float64], bar: float, *, at_least: bool
) -> Line:
    """Return the share of hits."""
    count, value = hits.size, float(hits.mean())
    square = 1.96**2 / count
    centre = (value + square / 2) / (1 + square)
    margin = float(np.sqrt(value * (1 - value) * square + square**2 / 4)) / (1 + square)
    holds = value >= bar if at_least else value <= bar
    return Line(signal, figure, snr_db, value, centre - margin, centre + margin, bar, holds, None)


def noise_lines(seed: int, count: int) -> Iterator[Line]:
    """Noise alone: the floor, and false alarms."""
    rng = np.random.default_rng(seed)
    plain = [plain_figures(noise(rng, LENGTH), RATE_HZ) for _ in range(PLAIN_CHUNKS)]
    floor_db = float(np.mean([figures.noise_db for figures in plain]))
    present = float(np.mean([figures.is_present for figures in plain]))
    for length, probability, chunks in (
        (LENGTH, 1e-3, count),
        (LENGTH, 1e-2, max(count // 3, 1)),
        (2400, 1e-3, 4 * count),
        (2400, 1e-2, count),
    ):
        rows = noise_chunks(chunks, length, seed, probability=probability)
        title = f"noise, {length} samples"
        if probability == 1e-3:
            line = bias_line(title, "floor bias dB", None, 10 * np.log10(rows.noise_power), 0.05)
            yield replace(line, plain=floor_db)
        line = rate_line(
            title, f"false alarms at {probability:g}", None, rows.is_present, 2 * probability, at_least=False
        )
        yield Line(**{**asdict(line), "plain": present})


def signal_lines(row: Row, snr_db: float, seed: int, count: int) -> Iterator[Line]:
    """One signal at one SNR."""
    true_hz = row.true_bandwidth_hz
    truth: Callable[[NDArray[np.complex128]], float] | None = None if true_hz is None else lambda _: true_hz
    result = trials(row.waveform, snr_db, count, seed=seed, true_bandwidth_hz=truth)
    plain_snr_db, plain_bandwidth_hz = _plain(row.waveform, snr_db, seed)
    if row.bias_db is not None:
        line = bias_line(row.waveform, "SNR bias dB", snr_db, result.snr_error_db, row.bias_db)
        yield replace(line, plain=plain_snr_db - snr_db)
    if row.rmse_db is not None:
        line = rmse_line(row.waveform, "SNR rmse dB", snr_db, result.snr_error_db, row.rmse_db)
        yield replace(line, plain=abs(plain_snr_db - snr_db))
    if row.bandwidth is not None:
        line = bias_line(row.waveform, "bandwidth bias", snr_db, result.bandwidth_ratio - 1, row.bandwidth)
        yield replace(line, plain=plain_bandwidth_hz / _bandwidth_hz(result) - 1)


def _plain(waveform: str, snr_db: float, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng([seed, 99])
    figures = [
        plain_figures(with_snr(WAVEFORMS[waveform](rng, LENGTH, RATE_HZ), snr_db, rng), RATE_HZ)
        for _ in range(PLAIN_CHUNKS)
    ]
    return float(np.mean([each.snr_db for each in figures])), float(np.mean([each.bandwidth_hz for each in figures]))


def _bandwidth_hz(result: Trials) -> float:
    return float(np.nanmean(result.rows.bandwidth_hz / result.bandwidth_ratio))


def carrier_lines(seed: int, count: int) -> Iterator[Line]:
    """A carrier's frequency against the Cramer-Rao bound, and the weakest one that is found."""
    rng = np.random.default_rng([seed, 7])
    for snr_db in (-10, 0, 10, 20, 30, 40):
        variance = 6 / ((2 * np.pi) ** 2 * 10 ** (snr_db / 10) * LENGTH * (LENGTH**2 - 1))
        errors: list[float] = []
        plain: list[float] = []
        for _ in range(3 * count):
            frequency_hz = rng.uniform(-0.4, 0.4) * RATE_HZ
            samples = with_snr(tone(frequency_hz, LENGTH, RATE_HZ, rng.uniform(0, 6)), snr_db, rng)
            errors.append(measured(samples[np.newaxis]).carrier_hz[0] - frequency_hz)
            if len(plain) < PLAIN_CHUNKS:
                plain.append(plain_figures(samples, RATE_HZ).frequency_hz - frequency_hz)
        bound_hz = RATE_HZ * np.sqrt(variance)
        line = rmse_line("cw", "frequency rmse / bound", snr_db, np.array(errors) / bound_hz, 1.15)
        yield replace(line, plain=float(np.sqrt(np.mean(np.square(plain))) / bound_hz))
    weakest = trials("cw", -28, 3 * count, seed=seed)
    yield rate_line("cw", "detected", -28, weakest.rows.is_present, 0.95, at_least=True)


def confidence_lines(seed: int) -> Iterator[Line]:
    """Calibration on classes that the confidence was not fitted to."""
    result = outcomes((*HELD_OUT_CLASSES, "noise"), 4000, seed + 100)
    probability = result.probability()
    error = expected_calibration_error(probability, result.is_right)
    rng = np.random.default_rng(seed)
    resampled = [
        expected_calibration_error(probability[chosen], result.is_right[chosen])
        for chosen in rng.integers(probability.size, size=(200, probability.size))
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    yield Line("held-out classes", "calibration error", None, error, low, high, 0.05, error <= 0.05, None)


def table(seed: int, chunks: int, noise_count: int) -> Iterator[Line]:
    """Measure everything, line by line."""
    yield from noise_lines(seed, noise_count)
    for row in ROWS:
        for snr_db in row.snrs_db:
            yield from signal_lines(row, snr_db, seed, chunks)
    yield from carrier_lines(seed, chunks)
    yield from confidence_lines(seed)


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description="Accuracy of the features, beside the bars.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chunks", type=int, default=60, help="chunks a row")
    parser.add_argument("--noise-chunks", type=int, default=6000, help="chunks of noise alone")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    lines = []
    if not arguments.json:
        sys.stdout.write(
            f"{'signal':22} {'SNR':>4}  {'figure':24} {'value':>9} {'95 %':>19} {'bar':>7}  {'plain':>9}\n"
        )
    for line in table(arguments.seed, arguments.chunks, arguments.noise_chunks):
        lines.append(line)
        if not arguments.json:
            snr = "" if line.snr_db is None else f"{line.snr_db:g}"
            plain = "" if line.plain is None else f"{line.plain:9.4g}"
            sys.stdout.write(
                f"{line.signal:22} {snr:>4}  {line.figure:22} {line.value:9.4f} {line.low:9.4f} ..{line.high:8.4f} "
                f"{line.bar:7g}  {plain:>9}{'' if line.holds else '  MISSED'}\n"
            )
            sys.stdout.flush()
    holds = all(line.holds for line in lines)
    if arguments.json:
        document = {"seed": arguments.seed, "chunks": arguments.chunks, "holds": holds}
        sys.stdout.write(json.dumps({**document, "rows": [asdict(line) for line in lines]}, indent=2) + "\n")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
