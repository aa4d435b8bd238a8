"""What is known of the receiver that a recording comes from: its passband and its response."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.passband import Hidden, Passband, estimate_passband
from heimdall_assets.dsp.response import Response, estimate_response

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.passes import Passes
    from heimdall_assets.dsp.transform import Chunks, Spectrum, Waveform


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """Passband and response of a receiver, given or estimated.

    Attributes
    ----------
    passband : Passband or None
        None: the sampled band.
    response : Response or None
        None: noise is white.
    hidden : Hidden
        Whether no noise floor can be named, since a narrow filter and a strong signal would leave the same spectrum.
    """

    passband: Passband | None = None
    response: Response | None = None
    hidden: Hidden = Hidden.NOTHING

    def completed(self, use: Passes, waveform: Waveform, spectrum: Spectrum, chunks: Chunks, grid: Grid) -> FrontEnd:
        """Return the front end with what was not given estimated from chunks.

        Parameters
        ----------
        use : Passes
            Implementation of the passes.
        waveform, spectrum, chunks
            Some chunks, and what was measured of them.
        grid : Grid
            Bins and bands.
        """
        passband, hidden = self.passband, self.hidden
        if passband is None and self.response is not None and self.response.depth_db > 0:
            low, high = self.response.usable_hz(grid)
            if high - low < grid.num_bands * grid.bins_per_band * grid.bin_hz:
                passband = Passband(low, high, is_estimated=False)
        if passband is None:
            envelope_mean = float(np.mean(waveform.mean_magnitude / np.sqrt(waveform.power)))
            passband, hidden = estimate_passband(
                spectrum.band_power, float(waveform.power.mean()), envelope_mean, chunks[0], grid
            )
        response = self.response
        if response is None and hidden is Hidden.NOTHING:
            bands = slice(0, grid.num_bands) if passband is None else passband.bands(grid)
            edges = grid.band_edges_hz()
            limits_hz = (float(edges[bands.start]), float(edges[bands.stop]))
            response = estimate_response(
                spectrum.band_power[:, bands], grid.bins_per_band, limits_hz, use.excise, use.partition
            )
        return replace(self, passband=passband, response=response, hidden=hidden)

    def bands(self, grid: Grid) -> slice:
        """Return the bands to work in."""
        return slice(0, grid.num_bands) if self.passband is None else self.passband.bands(grid)

    def relative_noise(self, grid: Grid, bands: slice) -> NDArray[np.float64] | None:
        """Return the noise power of each band over its mean in ``bands``; None where it is the same everywhere."""
        return None if self.response is None else self.response.over(grid, bands)
