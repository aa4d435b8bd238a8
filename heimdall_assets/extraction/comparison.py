"""Rows that other code wrote beside what the estimators say now: pairs, figures over them, and why they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp import FEATURES
from heimdall_assets.extraction.stored import number_of, receivers_of
from heimdall_assets.records import FeaturePairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any
    from uuid import UUID

    from heimdall_assets.extraction.stored import StoredReceiver
    from heimdall_assets.records import ReceiverFeatures, SessionFeatures

SAME_RELATIVE, SAME_ABSOLUTE = 1e-3, 1e-6
"""Two figures that are this near say the same: other code rounded what it stored."""
SAME_PLACE_DEG = 1e-3
"""Receivers of different names that are this near, some hundred metres, are the same one."""

WHY = {
    "rssi_dbm": "Mean power is dBm here: 30 dB are added where |x|^2 is in watts, and full scale of integers is 1; "
    "a chunk with lost samples is measured on its longest stretch, not over its gaps.",
    "snr_db": "White noise no longer reads about 8 dB: noise is measured, not taken from the weakest bins, whose "
    "median lies 7.9 dB below it, within the receiver's passband and under its response; there is no SNR without a "
    "signal, nor where the floor is rounding or a filter's skirt.",
    "noise_floor_dbm": "The floor is the power of the noise in the receiver's passband, by forward consecutive mean "
    "excision under its response, and null where it is rounding or a filter's skirt; the weakest bins read too little.",
    "frequency_offset_hz": "The carrier is estimated between the bins, and where no line holds over half of the "
    "signal's power it is the centroid, not the strongest bin.",
    "bandwidth_hz": "Bandwidth is the 99 % occupied bandwidth of ITU-R SM.328, not the bins within 3 dB of the peak.",
    "psd_dbm_per_hz": "The density is that of the noise: the noise floor over the passband; null where the floor is.",
    "spectral_centroid_hz": "The noise is subtracted before the centre of mass is taken, and noise alone has none.",
    "spectral_rolloff_hz": "The noise is subtracted before the 85 % are counted, from the lowest frequency up.",
    "envelope_mean": "The envelope is in units of the root mean square of the chunk.",
    "envelope_std": "The envelope is in units of the root mean square of the chunk.",
    "envelope_max": "The envelope is in units of the root mean square of the chunk.",
    "peak_to_avg_ratio_db": "The ratio is that of the largest to the mean power of a chunk.",
    "zero_crossing_rate": "Sign changes of the real part are counted per sample.",
    "multipath_delay_spread_us": "The delay spread is null unless the waveform is known: blind estimates call echoes "
    "where there are none; a pure tone read thousands of us.",
    "coherence_bandwidth_khz": "The coherence bandwidth is null where the delay spread is.",
    "delay_spread_confidence": "It is 0 as long as no delay spread is given.",
    "signal_present": "Presence is decided at a set probability of false alarm, against noise through the receiver's "
    "response; it no longer is true of all noise.",
    "confidence_score": "The score is a calibrated probability: that the decision is right and the SNR within 1 dB.",
}
"""One sentence a feature, for those that differ."""


@dataclass(frozen=True, slots=True)
class Worst:
    """The largest difference of a feature, and whose it is."""

    session_id: UUID
    receiver: str
    old: float
    new: float

    @property
    def difference(self) -> float:
        """New less old."""
        return self.new - self.old


@dataclass(frozen=True, slots=True)
class FeatureComparison:
    """One feature over all receivers that were compared.

    Attributes
    ----------
    name, unit : str
        Of the feature.
    receivers : int
        Receivers that were compared.
    both : int
        Of these, those where both figures are defined; the differences, new less old, are theirs.
    differing : int
        Receivers where the two say different things, one null and the other not included.
    median_old, median_new : float or None
        Over those where the figure is defined.
    median_difference, lower_quartile, upper_quartile : float or None
        Of the differences; None without any.
    worst : Worst or None
        The largest difference in magnitude.
    old_only, new_only : int
        Receivers where only the old, or only the new figure is defined.
    """

    name: str
    unit: str
    receivers: int
    both: int
    differing: int
    median_old: float | None
    median_new: float | None
    median_difference: float | None
    lower_quartile: float | None
    upper_quartile: float | None
    worst: Worst | None
    old_only: int
    new_only: int

    @property
    def why(self) -> str | None:
        """Why old and new differ; None where they do not."""
        return WHY[self.name] if self.differing else None


@dataclass(frozen=True, slots=True)
class ReceiverPair:
    """One receiver of one session, old and new: feature -> mean or None."""

    session_id: UUID
    receiver: str
    old: Mapping[str, float | None]
    new: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class SessionComparison:
    """One session's receivers.

    Attributes
    ----------
    pairs : tuple of ReceiverPair
        Those that have features in both.
    failures : tuple of str
        Reasons of the receivers that have old features and cannot be read now.
    num_unmatched : int
        Receivers with features in one of the two that are not found in the other.
    """

    pairs: tuple[ReceiverPair, ...]
    failures: tuple[str, ...]
    num_unmatched: int


def compare_session(row: Mapping[str, Any], result: SessionFeatures) -> SessionComparison:
    """Pair a stored row's receivers with those of a computation of the same session."""
    old = [receiver for receiver in receivers_of(row) if receiver.error is None]
    matched = match_receivers(old, result.receivers)
    pairs, failures = [], []
    for stored, computed in matched:
        if computed.features is not None:
            pairs.append(
                ReceiverPair(
                    result.session.id,
                    computed.station.name,
                    {feature.name: stored.mean_of(feature.name) for feature in FEATURES},
                    {feature.name: number_of(computed.features[feature.name]["mean"]) for feature in FEATURES},
                )
            )
        elif computed.failure is not None:
            failures.append(computed.failure.reason)
    usable = sum(receiver.features is not None for receiver in result.receivers)
    unmatched = len(old) - len(matched) + usable - len(pairs)
    return SessionComparison(tuple(pairs), tuple(failures), unmatched)


def match_receivers(
    old: Sequence[StoredReceiver], new: Sequence[ReceiverFeatures]
) -> list[tuple[StoredReceiver, ReceiverFeatures]]:
    """Find each old receiver's station: by name, else by the letters and digits of it, else by the place.

    Each is used once; of names and places that fit several stations, or several times, none is taken.
    """
    pairs: list[tuple[StoredReceiver, ReceiverFeatures]] = []
    left, free = list(old), list(new)
    for is_same in (_has_name, _has_letters, _has_place):
        for stored in list(left):
            fitting = [computed for computed in free if is_same(stored, computed)]
            if len(fitting) == 1 and sum(is_same(other, fitting[0]) for other in left) == 1:
                pairs.append((stored, fitting[0]))
                left.remove(stored)
                free.remove(fitting[0])
    return pairs


def _has_name(stored: StoredReceiver, computed: ReceiverFeatures) -> bool:
    return stored.name == computed.station.name


def _has_letters(stored: StoredReceiver, computed: ReceiverFeatures) -> bool:
    letters = _letters(computed.station.name)
    return bool(letters) and stored.name is not None and _letters(stored.name) == letters


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _has_place(stored: StoredReceiver, computed: ReceiverFeatures) -> bool:
    station = computed.station
    coordinates = ((stored.latitude, station.latitude), (stored.longitude, station.longitude))
    return all(then is not None and now is not None and abs(then - now) <= SAME_PLACE_DEG for then, now in coordinates)


def pairs_of(receivers: Iterable[ReceiverPair]) -> tuple[FeaturePairs, ...]:
    """Turn receivers with all their features into features with all their receivers, in the registry's order."""
    chosen = tuple(receivers)
    return tuple(
        FeaturePairs(
            feature.name,
            feature.unit,
            tuple(pair.session_id for pair in chosen),
            tuple(pair.receiver for pair in chosen),
            np.array([pair.old[feature.name] for pair in chosen], np.float64),
            np.array([pair.new[feature.name] for pair in chosen], np.float64),
        )
        for feature in FEATURES
    )


def compare_feature(pairs: FeaturePairs) -> FeatureComparison:
    """Figures over a feature's pairs."""
    has_old, has_new = np.isfinite(pairs.old), np.isfinite(pairs.new)
    is_both = has_old & has_new
    difference = (pairs.new - pairs.old)[is_both]
    is_same = np.isclose(pairs.new[is_both], pairs.old[is_both], rtol=SAME_RELATIVE, atol=SAME_ABSOLUTE)
    worst = None
    if difference.size:
        at = int(np.flatnonzero(is_both)[np.abs(difference).argmax()])
        worst = Worst(pairs.session_ids[at], pairs.receivers[at], float(pairs.old[at]), float(pairs.new[at]))
    return FeatureComparison(
        name=pairs.name,
        unit=pairs.unit,
        receivers=pairs.old.size,
        both=int(is_both.sum()),
        differing=int((~is_same).sum() + (has_old ^ has_new).sum()),
        median_old=_quantile(pairs.old[has_old], 0.5),
        median_new=_quantile(pairs.new[has_new], 0.5),
        median_difference=_quantile(difference, 0.5),
        lower_quartile=_quantile(difference, 0.25),
        upper_quartile=_quantile(difference, 0.75),
        worst=worst,
        old_only=int((has_old & ~has_new).sum()),
        new_only=int((has_new & ~has_old).sum()),
    )


def _quantile(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], share: float) -> float | None:
    return float(np.quantile(values, share)) if values.size else None
