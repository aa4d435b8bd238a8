"""Probability that a chunk's figures are right: the decision, and where a signal is present its SNR within 1 dB.

Two things make an SNR wrong. Chance does for weak signals: how much is known in advance (:func:`snr_deviation`) and,
together with the margin of detection, gives a first probability. The second is a floor that is not noise but the
skirt of a strong signal: unevenness of the floor gives it away (:class:`~heimdall_assets.dsp.noise.Floor`). The two
probabilities are multiplied. Each is a logistic function whose coefficients were fitted, by maximum likelihood, to
seeded carriers, NBFM, QPSK, noise-like signals, OFDM, with SNRs evenly between -20 and 40 dB, and to plain noise, 3 of
13 chunks, in chunks of 2400, 12,000 and 40,000 samples:

    python -m heimdall_assets_tests.dsp.calibration

prints them, and the expected calibration error: 0.01 on these classes; 0.05 on classes that were left out (two tones,
bursts, AM, FSK, a keyed carrier, chirps and PSK without a filter), 0.03 where an eighth of the chunks is noise, 0.02
where something was detected. What is least sure is the probability for a chunk without detection: it depends on how
many such chunks hold a weak signal. Here a quarter did.

References
----------
A. Niculescu-Mizil, R. Caruana, "Predicting Good Probabilities With Supervised Learning", 22nd International Conference
on Machine Learning, 625-632, 2005; for reliability diagrams and for fits of this kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from heimdall_assets.dsp.excision import HANN_VARIANCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.noise import Floor
    from heimdall_assets.dsp.transform import Column

STRONG_SNR_DB = 11.0
"""Above this SNR an uneven floor is a skirt; below it may be the signal itself, too weak to be told from noise."""

EVEN_DISPERSION = 1.1
LARGEST_LOG_MARGIN = 3.0
SMALLEST_DEVIATION = 0.01


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Of the logistic functions; see :func:`evidence` for what they weigh.

    Attributes
    ----------
    chance : tuple of float
        Constant, log margin, log deviation.
    floor : tuple of float
        Constant, spread, dispersion.
    absent : tuple of float
        Constant, margin; where nothing was detected.
    """

    chance: tuple[float, float, float]
    floor: tuple[float, float, float]
    absent: tuple[float, float]


FITTED = Coefficients(chance=(-4.24, 1.10, -2.31), floor=(6.77, -13.84, -10.51), absent=(3.61, -4.26))


def snr_deviation(signal_bins: Column, counted_bins: Column, free_bins: Column) -> Column:
    """Return the standard deviation of an SNR estimate over its value, as far as chance makes it.

    With the signal's power s in units of the noise in one bin, summed over B bins, the sum varies by B + 2 s. The
    floor is known from F free bins, with a variance of 35/18 / F, and enters twice: as what is subtracted from the
    sum, B of it, and as what the signal is compared with.

    Parameters
    ----------
    signal_bins : ndarray, shape (chunks,)
        s.
    counted_bins, free_bins : ndarray, shape (chunks,)
        B and F.

    Returns
    -------
    ndarray, shape (chunks,)
        sqrt((B + 2 s) / s^2 + (1 + B / s)^2 35/18 / F).
    """
    signal = np.maximum(signal_bins, 1e-3)
    counting = (counted_bins + 2 * signal) / signal**2
    floor = (1 + counted_bins / signal) ** 2 * HANN_VARIANCE / np.maximum(free_bins, 1)
    deviation: Column = np.sqrt(counting + floor)
    return deviation


def evidence(margin: Column, deviation: Column, snr: Column, floor: Floor) -> tuple[NDArray[np.float64], ...]:
    """Return what the logistic functions for chance, floor and absence weigh, each of shape (terms, chunks)."""
    one = np.ones_like(margin)
    chance = np.stack(
        [
            one,
            np.clip(np.log(np.maximum(margin, 1e-9)), 0, LARGEST_LOG_MARGIN),
            np.log(np.clip(deviation, SMALLEST_DEVIATION, 1)),
        ]
    )
    is_strong = expit(10 * np.log10(np.maximum(snr, 1e-9)) - STRONG_SNR_DB)
    uneven = np.stack(
        [
            one,
            is_strong * np.maximum(floor.spread_db, 0),
            is_strong * np.clip(floor.dispersion - EVEN_DISPERSION, 0, 3),
        ]
    )
    return chance, uneven, np.stack([one, margin])


def probability_floor(snr: Column, floor: Floor, coefficients: Coefficients = FITTED) -> Column:
    """Return the probability that the floor is noise, shape (chunks,), in [0, 1].

    Parameters
    ----------
    snr : ndarray, shape (chunks,)
        Signal over noise power.
    floor : Floor
        The noise floor and how even it is.
    coefficients : Coefficients
        Of the logistic function.
    """
    one = np.ones_like(snr)
    _, uneven, _ = evidence(one, one, snr, floor)
    return _logistic(coefficients.floor, uneven)


def probability_right(
    margin: Column, deviation: Column, snr: Column, floor: Floor, coefficients: Coefficients = FITTED
) -> Column:
    """Return the probability that the decision is right and the SNR within 1 dB.

    Parameters
    ----------
    margin : ndarray, shape (chunks,)
        Largest test statistic over its threshold; a signal is present above 1.
    deviation : ndarray, shape (chunks,)
        See :func:`snr_deviation`.
    snr : ndarray, shape (chunks,)
        Signal over noise power.
    floor : Floor
        The noise floor and how even it is.
    coefficients : Coefficients
        Of the logistic functions.

    Returns
    -------
    ndarray, shape (chunks,)
        In [0, 1].
    """
    chance, uneven, absent = evidence(margin, deviation, snr, floor)
    present = _logistic(coefficients.chance, chance) * _logistic(coefficients.floor, uneven)
    return np.where(margin > 1, present, _logistic(coefficients.absent, absent))


def _logistic(weights: tuple[float, ...], terms: NDArray[np.float64]) -> Column:
    probability: Column = expit(np.asarray(weights) @ terms)
    return probability
