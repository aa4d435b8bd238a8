"""Fits and checks the coefficients behind confidence_score.

    python -m heimdall_assets_tests.dsp.calibration [--chunks 12000] [--seed 1]

measures that many seeded chunks of the fitted classes and as many of the held-out ones, fits by maximum likelihood,
and prints the coefficients for heimdall_assets/dsp/confidence.py beside the calibration error that they, and those
in the source, have on either set. A chunk counts as right if the decision is right and, where a signal was found,
its SNR lies within 1 dB of the truth.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from heimdall_assets.dsp.confidence import FITTED, Coefficients, probability_right
from heimdall_assets.dsp.front_end import FrontEnd
from heimdall_assets.dsp.grid import grid_for
from heimdall_assets.dsp.kernel import measure
from heimdall_assets.dsp.noise import Floor
from heimdall_assets.dsp.rows import Unresolved
from heimdall_assets_tests.dsp.receivers import droop, filtered, through
from heimdall_assets_tests.dsp.signals import RATE_HZ, WAVEFORMS, Samples, noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NOISE = "noise"
FLAT = "flat"
FILTER = "filter"
"""Receivers beside those that droop: one that lets white noise through, and one that is open for half of the band or
less and rounds to 16 bits."""

FITTED_CLASSES = tuple(
    (signal, receiver)
    for receiver in (FLAT, FLAT, FLAT, "quadratic", "kink", FILTER)
    for signal in (
        ("carrier", "qpsk", NOISE) if receiver == FILTER else ("cw", "nbfm", "qpsk", "noise_like", "ofdm", NOISE)
    )
)
HELD_OUT_CLASSES = (
    *((name, FLAT) for name in ("two_tones", "burst", "hard_keyed_psk", "am", "fsk", "keyed_carrier", "chirp")),
    *((name, receiver) for receiver in ("cic", "roll_off", "tilt") for name in ("two_tones", "burst", "chirp")),
    ("fm", FILTER),
)
HELD_OUT_NOISE = ((NOISE, FLAT), (NOISE, "cic"), (NOISE, "roll_off"))
"""Pairs of signal and receiver that the coefficients are fitted to, and others."""

DEPTHS_DB = (0.5, 9.0)
HALF_WIDTHS = (0.06, 0.5)
"""Between these lie the depths of droops, and the widths of filters as a share of the sampled band."""

LENGTHS = (40_000, 12_000, 2400)
SNR_RANGE_DB = (-10.0, 40.0)
TOLERANCE_DB = 1.0
ERROR_BINS = 10


@dataclass(frozen=True)
class Outcomes:
    """What was measured of chunks, and whether it was right; arrays of shape (chunks,)."""

    kind: NDArray[np.str_]
    margin: NDArray[np.float64]
    deviation: NDArray[np.float64]
    snr: NDArray[np.float64]
    floor: Floor
    is_right: NDArray[np.bool_]

    def probability(self, coefficients: Coefficients = FITTED) -> NDArray[np.float64]:
        """Return the confidence that coefficients give to each chunk."""
        probability = probability_right(self.margin, self.deviation, self.snr, self.floor, coefficients)
        return np.where(self.floor.is_resolved | (self.margin <= 1), probability, 0.0)


def outcomes(classes: Sequence[tuple[str, str]], count: int, seed: int) -> Outcomes:
    """Measure ``count`` chunks: classes and lengths in turn, SNRs at random."""
    rng = np.random.default_rng(seed)
    columns: list[tuple[float, ...]] = []
    kinds = []
    for index in range(count):
        signal, receiver = classes[index % len(classes)]
        length = LENGTHS[index // len(classes) % len(LENGTHS)]
        samples, snr_db = _made(rng, signal, receiver, length)
        chunk = samples.astype(np.complex64)[np.newaxis]
        rows, _ = measure(chunk, grid_for(length, RATE_HZ), 1e-3, FrontEnd(), may_estimate=True)
        snr = rows.signal_power[0] / rows.noise_power[0]
        found = bool(rows.is_present[0])
        error_db = abs(10 * np.log10(max(snr, 1e-9)) - snr_db)
        is_resolved = rows.unresolved[0] == Unresolved.NOT
        is_right = not found if signal == NOISE else found and is_resolved and error_db <= TOLERANCE_DB
        kinds.append(f"{signal}, {receiver}")
        columns.append(
            (
                rows.margin[0] if found else min(rows.margin[0], 1.0),
                rows.snr_deviation[0],
                snr,
                rows.floor_spread_db[0],
                rows.floor_dispersion[0],
                float(is_resolved),
                float(is_right),
            )
        )
    margin, deviation, snrs, spread_db, dispersion, resolved, right = np.array(columns, np.float64).T
    floor = Floor(np.ones(count), spread_db, dispersion, resolved > 0)
    return Outcomes(np.array(kinds), margin, deviation, snrs, floor, right > 0)


def _made(rng: np.random.Generator, signal: str, receiver: str, length: int) -> tuple[Samples, float]:
    """Return a chunk behind a receiver, and its true SNR; a receiver that droops changes that of the waveform."""
    snr_db = rng.uniform(*SNR_RANGE_DB)
    if receiver == FILTER:
        half_width_hz = rng.uniform(*HALF_WIDTHS) * RATE_HZ / 2
        name = None if signal == NOISE else signal
        return filtered(rng, length, RATE_HZ, half_width_hz, 16, signal=name, snr_db=snr_db), snr_db
    noise_alone = noise(rng, length)
    waveform = 0 * noise_alone if signal == NOISE else 10 ** (snr_db / 20) * WAVEFORMS[signal](rng, length, RATE_HZ)
    if receiver == FLAT:
        return noise_alone + waveform, snr_db
    shape = droop(receiver, rng.uniform(*DEPTHS_DB))
    behind, waveform = through(noise_alone, shape), through(waveform, shape)
    power = float(np.mean(np.abs(waveform) ** 2))
    return behind + waveform, 10 * np.log10(power) if power > 0 else snr_db


def expected_calibration_error(probability: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """Return the mean distance of probability and frequency over ten bins, weighted by their counts.

    M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI
    Conference on Artificial Intelligence, 2015.
    """
    bins = np.minimum((probability * ERROR_BINS).astype(int), ERROR_BINS - 1)
    gaps = [
        abs(probability[bins == index].mean() - is_right[bins == index].mean()) * np.mean(bins == index)
        for index in np.unique(bins)
    ]
    return float(sum(gaps))


def fitted(measured: Outcomes) -> Coefficients:
    """Return the most likely coefficients."""
    right = measured.is_right.astype(np.float64)

    def loss(weights: NDArray[np.float64]) -> float:
        coefficients = _coefficients(weights)
        probability = np.clip(measured.probability(coefficients), 1e-6, 1 - 1e-6)
        likelihood = right * np.log(probability) + (1 - right) * np.log(1 - probability)
        return float(-likelihood.mean() + 1e-6 * np.sum(weights**2))

    start = np.array([-4.0, 1.0, -2.0, 6.0, -15.0, -8.0, 3.0, -4.0])
    return _coefficients(np.round(minimize(loss, start).x, 2))


def _coefficients(weights: NDArray[np.float64]) -> Coefficients:
    a, b, c, d, e, f, g, h = (float(weight) for weight in weights)
    return Coefficients(chance=(a, b, c), floor=(d, e, f), absent=(g, h))


def main() -> None:
    """Fit, check and print."""
    parser = argparse.ArgumentParser(description="Fit and check the coefficients behind confidence_score.")
    parser.add_argument("--chunks", type=int, default=12_000, help="chunks of either set")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    training = outcomes(FITTED_CLASSES, arguments.chunks, arguments.seed)
    held_out = outcomes((*HELD_OUT_CLASSES, *HELD_OUT_NOISE), arguments.chunks, arguments.seed + 1)
    lines = []
    for name, coefficients in (("in the source", FITTED), ("fitted now", fitted(training))):
        lines.append(f"{name}: {coefficients}")
        for title, measured in (("fitted classes", training), ("held-out classes", held_out)):
            probability = measured.probability(coefficients)
            error = expected_calibration_error(probability, measured.is_right)
            lines.append(f"  {title}: expected calibration error {error:.3f} over {probability.size} chunks")
            for kind in np.unique(measured.kind):
                chosen = measured.kind == kind
                error = expected_calibration_error(probability[chosen], measured.is_right[chosen])
                lines.append(
                    f"    {kind:15s} {error:.3f}   mean probability {probability[chosen].mean():.3f}, "
                    f"right {measured.is_right[chosen].mean():.3f}"
                )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
