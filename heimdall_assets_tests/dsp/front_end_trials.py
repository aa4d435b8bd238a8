"""Seeded trials behind front ends that are not flat: false alarms in noise alone, and errors of the SNR.

Noise and signals are made once and shared by all front ends. Recordings have some chunks, as the pipeline measures
them: the response is estimated from all of them together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.front_end import FrontEnd
from heimdall_assets.dsp.grid import grid_for
from heimdall_assets.dsp.kernel import examine_spectrum, measure
from heimdall_assets.dsp.passband import Hidden
from heimdall_assets.dsp.passes import current
from heimdall_assets.dsp.rows import Unresolved
from heimdall_assets_tests.dsp.receivers import amplitudes, droop
from heimdall_assets_tests.dsp.signals import (
    RATE_HZ,
    WAVEFORMS,
    Real,
    Samples,
    burst_gate,
    noise,
    noise_like,
    unit_power,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.transform import Spectrum, Waveform

Front = tuple[str, float] | None
"""Name and depth in dB of a shape; None for a flat front end."""

RECORDING_CHUNKS = 5

OTHERS: dict[str, Callable[[np.random.Generator, int, float], Samples]] = {
    "hopping": WAVEFORMS["burst"],
    "noise_like_30": partial(noise_like, share=0.3),
    "noise_like_50": partial(noise_like, share=0.5),
}
"""Signals beside WAVEFORMS: bursts at a frequency per chunk, and noise with steep edges in less of the band."""


def gains(front: Front, position: Real) -> Real:
    """Return a front end's amplitudes at positions in the band, -1 to 1; white noise keeps its power."""
    return np.ones_like(position) if front is None else amplitudes(droop(*front), position)


def shaped(waveform: Waveform, spectrum: Spectrum, gain: Real, grid: Grid) -> tuple[Waveform, Spectrum]:
    """Return what the passes would have found of chunks of noise behind a front end.

    Parameters
    ----------
    waveform, spectrum : Waveform, Spectrum
        What they found of white noise.
    gain : ndarray, shape (grid.num_bins,)
        Amplitudes, from the lowest frequency upwards.
    grid : Grid
        Bins and bands.
    """
    power = spectrum.bin_power * (gain * gain).astype(np.float32)
    in_bands = power.reshape(len(power), grid.num_bands, -1) * np.float32(spectrum.unit)
    ratio = power.sum(axis=1, dtype=np.float64) / spectrum.bin_power.sum(axis=1, dtype=np.float64)
    behind = replace(
        spectrum,
        coefficients=spectrum.coefficients * np.roll(gain, grid.first_bin).astype(np.float32),
        bin_power=power,
        band_power=in_bands.mean(axis=2, dtype=np.float64),
        band_moment=(in_bands @ np.arange(grid.bins_per_band, dtype=np.float32)).astype(np.float64),
        peak=power.argmax(axis=1).astype(np.intp),
        peak_bins=spectrum.peak_bins.copy(),
    )
    scaled = replace(
        waveform,
        power=waveform.power * ratio,
        mean_magnitude=waveform.mean_magnitude * np.sqrt(ratio),
        slot_power=waveform.slot_power * ratio[:, np.newaxis],
    )
    return scaled, behind


def false_alarms(
    fronts: Sequence[Front],
    count: int,
    length: int,
    seed: int,
    *,
    probability: float = 1e-3,
    chunks: int = RECORDING_CHUNKS,
) -> dict[Front, NDArray[np.bool_]]:
    """Look for signals in noise alone behind front ends.

    Parameters
    ----------
    fronts : sequence of Front
        Front ends, behind each of which is the same noise.
    count, length : int
        Chunks, at least, and samples of each.
    seed : int
        Fixes every sample.
    probability : float
        Set probability of a false alarm.
    chunks : int
        Chunks of a recording.

    Returns
    -------
    dict
        Front end -> whether a signal was found, shape (chunks,).
    """
    rng = np.random.default_rng([seed, length, chunks])
    grid = grid_for(length, RATE_HZ)
    position: Real = 2 * (np.arange(grid.num_bins) + grid.first_bin) / grid.num_bins
    tables = {front: gains(front, position) for front in fronts}
    found: dict[Front, list[NDArray[np.bool_]]] = {front: [] for front in fronts}
    for _ in range(-(-count // chunks)):
        pairs = rng.standard_normal((chunks, 2 * length), np.float32) * np.float32(np.sqrt(0.5))
        samples = pairs.view(np.complex64)
        white = current().transform(samples, grid, slice(0, grid.num_bins))
        for front, gain in tables.items():
            examined = examine_spectrum(
                samples, *shaped(*white, gain, grid), grid, probability, FrontEnd(), may_estimate=True
            )
            found[front].append(examined.detection.present & (examined.front.hidden is not Hidden.NOISE))
    return {front: np.concatenate(parts) for front, parts in found.items()}


@dataclass(frozen=True)
class SnrTrials:
    """SNRs behind a front end, arrays of shape (chunks,).

    Attributes
    ----------
    error_db : ndarray
        Estimated less true SNR, the total power of the signal over that of the noise; NaN where it is null.
    is_present : ndarray
        Whether a signal was found.
    """

    error_db: NDArray[np.float64]
    is_present: NDArray[np.bool_]


def snr_trials(
    name: str, snr_db: float, fronts: Sequence[Front], recordings: int, length: int, seed: int
) -> dict[Front, SnrTrials]:
    """Measure a waveform over noise behind front ends; the SNR is that before them, over the sampled band."""
    make = (WAVEFORMS | OTHERS)[name]
    rng = np.random.default_rng([seed, sorted(WAVEFORMS | OTHERS).index(name), round(10 * snr_db) + 1000, length, 5])
    grid, total = grid_for(length, RATE_HZ), RECORDING_CHUNKS * length
    position: Real = 2 * np.fft.fftfreq(total).astype(np.float64)
    tables = {front: gains(front, position) for front in fronts}
    errors: dict[Front, list[NDArray[np.float64]]] = {front: [] for front in fronts}
    present: dict[Front, list[NDArray[np.bool_]]] = {front: [] for front in fronts}
    for _ in range(recordings):
        if name == "hopping":
            signal = np.concatenate([make(rng, length, RATE_HZ) for _ in range(RECORDING_CHUNKS)])
        elif name == "burst":  # one in each chunk, all at one frequency
            gates = [burst_gate(rng, length, RATE_HZ) for _ in range(RECORDING_CHUNKS)]
            signal = unit_power(np.concatenate(gates) * WAVEFORMS["qpsk"](rng, total, RATE_HZ))
        else:
            signal = make(rng, total, RATE_HZ)
        parts = np.fft.fft(np.stack([10 ** (snr_db / 20) * signal, noise(rng, total)]))
        for front, gain in tables.items():
            behind, floor = np.fft.ifft(parts * gain).reshape(2, RECORDING_CHUNKS, length)
            rows, _ = measure((behind + floor).astype(np.complex64), grid, 1e-3, FrontEnd(), may_estimate=True)
            is_present = rows.is_present > 0
            is_defined = is_present & (rows.unresolved == Unresolved.NOT) & (rows.signal_power > 0)
            found_db = 10 * np.log10(np.where(is_defined, rows.signal_power / rows.noise_power, 1.0))
            true_db = 10 * np.log10(np.mean(np.abs(behind) ** 2, axis=1))
            errors[front].append(np.where(is_defined, found_db - true_db, np.nan))
            present[front].append(is_present)
    return {front: SnrTrials(np.concatenate(errors[front]), np.concatenate(present[front])) for front in fronts}
