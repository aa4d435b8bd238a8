"""The grid of bins and bands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heimdall_assets.dsp.grid import MIN_CHUNK_LENGTH, grid_for


@given(st.integers(MIN_CHUNK_LENGTH, 3_000_000))
@settings(max_examples=200, deadline=None)
def test_every_length_has_a_grid_that_leaves_out_little(length: int) -> None:
    grid = grid_for(length, 1.0)
    assert 0.97 * length <= grid.num_bins <= length
    assert grid.num_bands * grid.bins_per_band == grid.num_bins
    assert 8 <= grid.bins_per_band <= 64


def test_a_chunk_of_200_ms_at_200_khz_has_1250_bands_of_32_bins() -> None:
    grid = grid_for(40_000, 200e3)
    assert (grid.num_bins, grid.bins_per_band, grid.num_bands) == (40_000, 32, 1250)
    assert grid.bin_hz == 5.0


@pytest.mark.parametrize("length", [2400, 2401])
def test_the_bands_cover_the_sampled_band(length: int) -> None:
    grid = grid_for(length, 12_000.0)
    edges_hz = grid.band_edges_hz()
    assert edges_hz[0] == pytest.approx(-6000, abs=grid.bin_hz)
    assert edges_hz[-1] == pytest.approx(6000, abs=grid.bin_hz)
    assert np.diff(edges_hz) == pytest.approx(grid.bins_per_band * grid.bin_hz)
