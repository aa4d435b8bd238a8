"""Probability that a chunk's figures are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from heimdall_assets.dsp.transform import Column


def probability_right(margin: Column, snr: Column, occupancy: Column) -> Column:
    """Return the probability that the decision is right and the SNR within 1 dB, shape (chunks,), in [0, 1]."""
    del snr, occupancy
    return np.where(margin > 1, 1 - 0.5 / np.maximum(margin, 1), 1 - 0.5 * np.clip(margin, 0, 1))
