"""Which implementation of the heavy work is used: compiled by numba where that is installed, else plain numpy.

The plain functions (``clipping``, ``transform``, ``excision``, ``noise``, ``detection``, ``shape``, ``carrier``) are
the reference; the compiled ones (``compiled``) take and return the same, and release the interpreter while they work.
Nothing else in the room knows which of them it calls. numba is loaded by the first chunk that is measured in a
process, not by an import.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from heimdall_assets.dsp.carrier import carrier_bins
from heimdall_assets.dsp.clipping import find_extremes
from heimdall_assets.dsp.detection import detect
from heimdall_assets.dsp.excision import consecutive_mean_excision
from heimdall_assets.dsp.noise import noise_floor
from heimdall_assets.dsp.response import partition
from heimdall_assets.dsp.shape import shape_of
from heimdall_assets.dsp.transform import power_in_bands, strongest_bins, transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from heimdall_assets.dsp.clipping import Extremes
    from heimdall_assets.dsp.detection import Detection
    from heimdall_assets.dsp.excision import Excision
    from heimdall_assets.dsp.grid import Grid
    from heimdall_assets.dsp.noise import Floor
    from heimdall_assets.dsp.response import Partition
    from heimdall_assets.dsp.shape import Shape
    from heimdall_assets.dsp.transform import Chunks, Column, Spectrum, Waveform


@dataclass(frozen=True, slots=True)
class Passes:
    """One implementation; each attribute is a function, described where the plain one stands."""

    name: str
    find_extremes: Callable[[Chunks], Extremes]
    transform: Callable[[Chunks, Grid, slice], tuple[Waveform, Spectrum]]
    excise: Excision
    noise_floor: Callable[[NDArray[np.float64], Grid, NDArray[np.float64] | None], Floor]
    detect: Callable[[NDArray[np.float64], Column, NDArray[np.intp], Column, Grid, float, float], Detection]
    shape_of: Callable[[Spectrum, Detection, Column, Grid, Column | None], Shape]
    strongest_bins: Callable[[NDArray[np.float32], Column, slice], NDArray[np.intp]]
    partition: Partition
    power_in_bands: Callable[[NDArray[np.complex64], Grid, NDArray[np.bool_]], Column]
    carrier_bins: Callable[[Chunks, Spectrum, Grid, NDArray[np.intp]], Column]


PLAIN = Passes(
    "numpy",
    find_extremes,
    transform,
    consecutive_mean_excision,
    noise_floor,
    detect,
    shape_of,
    strongest_bins,
    partition,
    power_in_bands,
    carrier_bins,
)

_chosen: ContextVar[Passes | None] = ContextVar("heimdall_assets_passes", default=None)


def current() -> Passes:
    """Return the implementation in use here."""
    return _chosen.get() or compiled() or PLAIN


def load_kernels() -> str:
    """Load now what the first chunk would load, as before a fork; returns the implementation's name."""
    return current().name


@lru_cache(maxsize=1)
def compiled() -> Passes | None:
    """Load the compiled implementation.

    Returns
    -------
    Passes or None
        None where numba is not installed or does not go with the installed numpy, and where there is no folder to
        keep its machine code in: to compile anew in every process takes longer than a batch of sessions.
    """
    try:
        from heimdall_assets.dsp.compiled import detection, noise, response, samples, shape  # noqa: PLC0415 - half a second
    except ImportError:
        return None
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        logging.getLogger(__name__).warning("NUMBA_CACHE_DIR should name a writable folder; numpy is used: %s", error)
        return None
    return Passes(
        "numba",
        samples.find_extremes,
        samples.transform,
        noise.excise,
        noise.noise_floor,
        detection.detect,
        shape.shape_of,
        response.strongest_bins,
        response.partition,
        samples.power_in_bands,
        samples.carrier_bins,
    )


@contextmanager
def using(passes: Passes) -> Iterator[None]:
    """Use this implementation inside of a ``with`` block, in this thread alone: to compare the two."""
    token = _chosen.set(passes)
    try:
        yield
    finally:
        _chosen.reset(token)
