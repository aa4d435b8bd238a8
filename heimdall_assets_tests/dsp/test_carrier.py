"""The carrier's frequency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from heimdall_assets.dsp.grid import grid_for
from heimdall_assets_tests.dsp.signals import tone

if TYPE_CHECKING:
    from heimdall_assets.dsp.passes import Passes


@pytest.mark.parametrize("length", [1024, 2401, 40_000])
@pytest.mark.parametrize("offset_bins", [0.0, 0.1, 0.25, 0.49, 0.5, 0.51, -0.3])
def test_a_tone_without_noise_is_found_to_a_millionth_of_a_bin(passes: Passes, length: int, offset_bins: float) -> None:
    # single precision: 6e-8 of the amplitude, spread over the chunk
    grid = grid_for(length, 1.0)
    for whole in (-grid.num_bins // 3, 0, 17):
        bins = whole + offset_bins
        chunks = tone(bins / grid.num_bins, length, 1.0, phase=0.7)[np.newaxis].astype(np.complex64)
        _, spectrum = passes.transform(chunks, grid, slice(0, grid.num_bins))
        assert passes.carrier_bins(chunks, spectrum, grid, np.array([0])) == pytest.approx(bins, abs=2e-6)


def test_only_the_rows_asked_for_are_looked_at(passes: Passes) -> None:
    grid = grid_for(4096, 1.0)
    chunks = np.array([tone(f / 4096, 4096, 1.0) for f in (10.25, 200.5, -7.75)], np.complex64)
    _, spectrum = passes.transform(chunks, grid, slice(0, 4096))
    assert passes.carrier_bins(chunks, spectrum, grid, np.array([2, 0])) == pytest.approx([-7.75, 10.25], abs=1e-5)
    assert passes.carrier_bins(chunks, spectrum, grid, np.array([], np.intp)).size == 0
