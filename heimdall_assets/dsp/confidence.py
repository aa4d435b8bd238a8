"""Probability that a chunk's figures are right: the decision, and where a signal is present its SNR within 1 dB.

Two things make an SNR wrong. Chance does for weak signals: how much is known in advance (:func:`snr_deviation`) and,
together with the margin of detection, gives a first probability. The second is a floor that is not noise but the
skirt of a strong signal: unevenness of the floor gives it away (:class:`~heimdall_assets.dsp.noise.Floor`). The two
probabilities are multiplied. Each is a logistic function. Those of chance were fitted, by maximum likelihood, to seeded
carriers, NBFM, QPSK, noise-like signals, OFDM and plain noise, with SNRs evenly between -10 and 40 dB, in chunks
of 2400, 12,000 and 40,000 samples: over white noise, through front ends that droop, and inside of narrow filters.
The coefficients of the floor are those of a fit over white noise alone: a fit over all of these trusts buried floors of
OFDM too much. Those of a chunk without detection were set by hand near the fit, (1.19, 0.34), so that a near miss is
less sure.

    python -m heimdall_assets_tests.dsp.calibration

prints a fit of all of them, and the expected calibration error of those in use: 0.03 on classes that were left out (two
tones, bursts, AM, FSK, a keyed carrier, chirps and PSK without a filter; other droops; FM inside of a filter). What is
least sure is the probability for a chunk without detection: it depends on how many such chunks hold a weak signal.

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
    from heimdall_assets.dsp.noise import Floor
    from heimdall_assets.dsp.transform import Column

STRONG_SNR_DB = 11.0
"""Above this SNR an uneven floor is a skirt; below it may be the signal itself, too weak to be told from noise."""

EVEN_DISPERSION = 1.1
LARGEST_LOG_MARGIN = 3.0
SMALLEST_DEVIATION = 0.01


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Of the logistic functions: what each term weighs.

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


FITTED = Coefficients(chance=(-2.63, 0.67, -1.88), floor=(6.77, -13.84, -10.51), absent=(1.6, -0.3))


def snr_deviation(
    signal_bins: Column, counted_bins: Column, free_bins: Column, response_deviation: float = 0.0
) -> Column:
    """Return the standard deviation of an SNR estimate over its value, as far as chance makes it.

    With the signal's power s in units of the noise in one bin, summed over B bins, the sum varies by B + 2 s. The
    floor is known from F free bins, with a variance of 35/18 / F, and where the response was estimated with a
    deviation r. It enters twice: as what is subtracted from the sum, B of it, and as what the signal is compared with.

    Parameters
    ----------
    signal_bins : ndarray, shape (chunks,)
        s.
    counted_bins, free_bins : ndarray, shape (chunks,)
        B and F.
    response_deviation : float
        r.

    Returns
    -------
    ndarray, shape (chunks,)
        sqrt((B + 2 s) / s^2 + (1 + B / s)^2 (35/18 / F + r^2)).
    """
    signal = np.maximum(signal_bins, 1e-3)
    counting = (counted_bins + 2 * signal) / signal**2
    floor = (1 + counted_bins / signal) ** 2 * (HANN_VARIANCE / np.maximum(free_bins, 1) + response_deviation**2)
    deviation: Column = np.sqrt(counting + floor)
    return deviation


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
    constant, spread, dispersion = coefficients.floor
    is_strong = expit(10 * np.log10(np.maximum(snr, 1e-9)) - STRONG_SNR_DB)
    uneven = spread * np.maximum(floor.spread_db, 0) + dispersion * np.clip(floor.dispersion - EVEN_DISPERSION, 0, 3)
    return _logistic(constant + is_strong * uneven)


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
    return probability_given_floor(margin, deviation, probability_floor(snr, floor, coefficients), coefficients)


def probability_given_floor(
    margin: Column, deviation: Column, floor_trust: Column, coefficients: Coefficients = FITTED
) -> Column:
    """Return the same as :func:`probability_right`, from the probability that the floor is noise."""
    constant, of_margin, of_deviation = coefficients.chance
    log_margin = np.minimum(np.log(np.maximum(margin, 1)), LARGEST_LOG_MARGIN)
    log_deviation = np.log(np.clip(deviation, SMALLEST_DEVIATION, 1))
    present = _logistic(constant + of_margin * log_margin + of_deviation * log_deviation) * floor_trust
    constant, of_margin = coefficients.absent
    return np.where(margin > 1, present, _logistic(constant + of_margin * margin))


def _logistic(evidence: Column) -> Column:
    probability: Column = expit(evidence)
    return probability
