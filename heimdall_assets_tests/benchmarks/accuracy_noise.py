"""Noise alone in the accuracy report: the floor, and false alarms behind front ends, flat ones and others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets_tests.benchmarks.accuracy_rows import PLAIN_CHUNKS, SHORT_LENGTH
from heimdall_assets_tests.benchmarks.intervals import Line, bias_line, rate_line
from heimdall_assets_tests.dsp.front_end_trials import RECORDING_CHUNKS, Front, false_alarms
from heimdall_assets_tests.dsp.plain import plain_figures
from heimdall_assets_tests.dsp.receivers import SHAPES
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, noise
from heimdall_assets_tests.dsp.trials import noise_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROBABILITY = 1e-3
FREQUENT = 1e-2
"""Set probabilities of a false alarm."""

ALLOWED_RATIO = 2.0
"""False alarms may be this many times as frequent."""

SHARP = ("half_band_short", "half_band_long")
"""Half-band filters of other lengths, only as deep as they are, 3 dB."""

FRONTS: tuple[Front, ...] = (
    *((name, depth_db) for name in SHAPES if name not in SHARP for depth_db in (0.3, 1.0, 2.0, 3.0, 6.0, 9.0)),
    *((name, 3.0) for name in SHARP),
)
"""Front ends that noise is measured behind."""

FEW_FRONTS: tuple[Front, ...] = (
    ("quadratic", 1.0),
    ("quadratic", 9.0),
    ("cic", 4.0),
    ("half_band", 3.0),
    ("roll_off", 9.0),
    ("tilt", 3.0),
    ("kink", 6.0),
    ("one_sided", 9.0),
)
"""Those that it is measured behind in other ways, too."""

LIMITS = ((("roll_off", 9.0), SHORT_LENGTH, 1),)
"""Front end, length and chunks of what docs/accuracy.md lists as not right: it has no bar."""


def title(front: Front) -> str:
    """Return a front end's name in the table."""
    return "flat" if front is None else f"{front[0]} {front[1]:g} dB"


def white_lines(seed: int, length: int, count: int) -> Iterator[Line]:
    """White noise in many chunks at once: the floor, and false alarms."""
    rng = np.random.default_rng(seed)
    plain = [plain_figures(noise(rng, LENGTH), RATE_HZ) for _ in range(PLAIN_CHUNKS)]
    floor_db = float(np.mean([figures.noise_db for figures in plain]))
    present = float(np.mean([figures.is_present for figures in plain]))
    for probability, chunks in ((PROBABILITY, count), (FREQUENT, max(count // 4, 1))):
        rows = noise_chunks(chunks, length, seed, probability=probability)
        signal = f"noise, {length} samples"
        if probability == PROBABILITY:
            yield bias_line(signal, "floor bias dB", None, 10 * np.log10(rows.noise_power), 0.05, floor_db)
        figure, bar = f"false alarms at {probability:g}", ALLOWED_RATIO * probability
        yield rate_line(signal, figure, None, rows.is_present, bar, at_least=False, plain=present)


def front_lines(
    fronts: Sequence[Front], seed: int, length: int, count: int, probability: float, chunks: int = RECORDING_CHUNKS
) -> list[Line]:
    """Noise behind front ends, in recordings of some chunks."""
    alarms = false_alarms(fronts, count, length, seed, probability=probability, chunks=chunks)
    suffix = ", 1 chunk" if chunks == 1 else ""
    figure = f"false alarms at {probability:g}{suffix}"

    def bar(front: Front) -> float | None:
        return None if (front, length, chunks) in LIMITS else ALLOWED_RATIO * probability

    return [
        rate_line(f"noise {title(front)}, {length}", figure, None, found, bar(front), at_least=False)
        for front, found in alarms.items()
    ]


LENGTHS = (LENGTH, SHORT_LENGTH)
