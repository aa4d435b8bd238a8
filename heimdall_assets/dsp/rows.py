"""What the kernel hands to the features: quantities of chunks, side by side."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heimdall_assets.dsp.chunks import Group
    from heimdall_assets.dsp.transform import Column


class Unresolved(IntEnum):
    """Why a floor that was found is not the noise of the receiver."""

    NOT = 0
    """It is."""
    ARITHMETIC = 1
    """It is the rounding of single precision."""
    SAMPLES = 2
    """It is the rounding of the samples to 16 or 24 bits."""
    FILTER = 3
    """It may be what a filter leaves outside of its passband."""
    GAPS = 4
    """So many samples were lost that there is no stretch to find it in."""
    SKIRT = 5
    """It is so far below the signal, and so uneven, that it is the skirt of a signal or of a filter."""


def median(column: Column) -> float:
    """Return the median of at least one number; ``numpy.median`` takes longer than the FFT of a short chunk."""
    ordered = np.sort(column)
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else float(0.5 * (ordered[middle - 1] + ordered[middle]))


@dataclass(frozen=True, slots=True)
class Rows:
    """Quantities of chunks, each of shape (chunks,).

    Attributes
    ----------
    power, mean_magnitude, peak_power, crossings
        See :class:`~heimdall_assets.dsp.transform.Waveform`.
    noise_per_hz, noise_power : ndarray
        Density of the white noise, and its power in the band that is analysed.
    unresolved : ndarray
        Why the floor is not the receiver's noise, one of :class:`Unresolved`.
    margin, is_present : ndarray
        Largest test statistic over its threshold, and 1 where that is above 1, else 0.
    signal_power : ndarray
        Power of the signal.
    line_share : ndarray
        Share of the signal's power in its strongest line, in [0, 1].
    carrier_hz, centroid_hz, rolloff_hz, bandwidth_hz : ndarray
        Meaningless where no signal is present; carrier_hz is NaN where no line holds a tenth of its power.
    snr_deviation : ndarray
        Standard deviation of the SNR that chance alone gives, over the SNR.
    floor_spread_db, floor_dispersion : ndarray
        See :class:`~heimdall_assets.dsp.noise.Floor`.
    floor_trust, confidence : ndarray
        Probabilities that the floor is noise, and that decision and SNR are right; see
        :mod:`~heimdall_assets.dsp.confidence`.
    dc_share : ndarray
        Share of the power that is constant, in [0, 1].
    gap_share : ndarray
        Share of the time of the chunk that was lost, in [0, 1].
    """

    power: Column
    mean_magnitude: Column
    peak_power: Column
    crossings: Column
    noise_per_hz: Column
    noise_power: Column
    unresolved: Column
    margin: Column
    is_present: Column
    signal_power: Column
    line_share: Column
    carrier_hz: Column
    centroid_hz: Column
    rolloff_hz: Column
    bandwidth_hz: Column
    snr_deviation: Column
    floor_spread_db: Column
    floor_dispersion: Column
    floor_trust: Column
    dc_share: Column
    gap_share: Column
    confidence: Column

    @classmethod
    def concatenate(cls, parts: Sequence[Rows]) -> Rows:
        """Join the rows of successive groups."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def cut_from(self, group: Group) -> Rows:
        """Return the rows of a group of chunks, at its scale and with what its gaps mean."""
        rows = self.scaled(group.power_scale)
        if not group.gap_share:
            return rows
        count = len(rows.power)
        gap_share = np.full(count, group.gap_share)
        if not group.is_broken:
            return replace(rows, gap_share=gap_share)
        nothing = np.zeros(count)
        unresolved = np.full(count, float(Unresolved.GAPS))
        present = nothing if group.is_blind else rows.is_present
        return replace(
            rows,
            gap_share=gap_share,
            unresolved=unresolved,
            floor_trust=nothing,
            confidence=nothing,
            is_present=present,
        )

    def scaled(self, factor: float | Column) -> Rows:
        """Return the rows of samples whose powers are ``factor`` times as large, one for all or one a chunk."""
        if isinstance(factor, float) and factor == 1:
            return self
        powers = {"power", "peak_power", "noise_per_hz", "noise_power", "signal_power"}
        amplitude = np.sqrt(factor)
        return Rows(
            *(
                getattr(self, field.name)
                * (factor if field.name in powers else amplitude if field.name == "mean_magnitude" else 1.0)
                for field in fields(self)
            )
        )
