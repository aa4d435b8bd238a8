"""A backlog as a network leaves it: recordings of one second on local disk, and sessions that point at them.

The recordings are few and used by many sessions, so they lie in the page cache: what is measured is the pipeline, not
the disk, and whatever it is compared with reads the same files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets_tests.dsp.signals import WAVEFORMS, noise, with_snr

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from uuid import UUID

    from heimdall_assets_tests.factory import SessionFactory

SAMPLE_RATE_HZ = 200_000
DURATION_S = 1.0
SETS = 10
"""So many sessions have recordings of their own; the next ones use them again."""
KINDS = ("cw", "two_tones", "nbfm", "qpsk", "burst", "noise_like", "noise")
SNR_DB = 20.0
FULL_SCALE = 1e-6
"""Heimdall's recordings hold the square root of watts."""


def write_recordings(root: Path, receivers: int, *, seed: int = 1) -> list[tuple[str, ...]]:
    """Write SETS recordings a receiver as npy files of complex64.

    Returns
    -------
    list of tuple of str
        Names of the files of a session, a set after the other.
    """
    count = round(SAMPLE_RATE_HZ * DURATION_S)
    sets = []
    for number in range(SETS):
        names = tuple(f"set{number}-rx{receiver + 1}.npy" for receiver in range(receivers))
        for receiver, name in enumerate(names):
            rng = np.random.default_rng([seed, number, receiver])
            kind = KINDS[receiver % len(KINDS)]
            samples = (
                noise(rng, count)
                if kind == "noise"
                else with_snr(WAVEFORMS[kind](rng, count, SAMPLE_RATE_HZ), SNR_DB, rng)
            )
            np.save(root / name, (samples * FULL_SCALE).astype(np.complex64))
        sets.append(names)
    return sets


def add_sessions(
    factory: SessionFactory, sets: Sequence[tuple[str, ...]], count: int, *, status: str = "completed"
) -> list[UUID]:
    """Add sessions of one second, a minute apart, that share the sets of recordings evenly."""
    keys: list[UUID] = []
    for number, locations in enumerate(sets):
        share = len(range(number, count, len(sets)))
        keys += factory.add_many(share, locations, minutes=number * count, status=status, sample_rate_hz=SAMPLE_RATE_HZ)
    return keys
