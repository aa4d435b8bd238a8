"""The accuracy report as a picture: bias of the SNR over SNR, a panel per signal, and the reliability of confidence.

    python -m heimdall_assets_tests.benchmarks.accuracy_plot -o docs/reliability.png [--seed 1]

draws the reliability of confidence alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from heimdall_assets.plots.canvas import STYLE, save, sheet
from heimdall_assets_tests.benchmarks.accuracy_confidence import confidence_outcomes
from heimdall_assets_tests.dsp.calibration import ERROR_BINS, expected_calibration_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from heimdall_assets_tests.benchmarks.intervals import Line
    from heimdall_assets_tests.dsp.calibration import Outcomes

COLUMNS = 3
TITLES = {
    "cw": "carrier",
    "two_tones": "two tones",
    "nbfm": "narrow-band FM",
    "qpsk": "QPSK",
    "burst": "burst, 25 % of the time",
    "noise_like": "noise-like, 80 % of the band",
    "ofdm": "OFDM, 128 of 256 carriers",
    "wlan_ofdm": "OFDM, 52 of 64 carriers",
}


def draw(path: Path, lines: Sequence[Line], result: Outcomes, seed: int) -> None:
    """Draw all panels into a file."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # names of settings are literals there
        figure = sheet(12, 10)
        panels = figure.subplots(-(-(len(TITLES) + 1) // COLUMNS), COLUMNS).ravel()
        for axes, (signal, title) in zip(panels, TITLES.items(), strict=False):
            _bias(axes, title, [line for line in lines if (line.signal, line.figure) == (signal, "SNR bias dB")])
            bars = {line.snr_db: line.bar for line in lines if (line.signal, line.figure) == (signal, "SNR rmse dB")}
            _bars(axes, bars)
        panels[0].legend(loc="lower left", fontsize=8)
        _reliability(panels[len(TITLES)], result)
        figure.suptitle(f"Accuracy of snr_db and of confidence_score, seed {seed}; bars of 95 % intervals")
        save(figure, path)


def _bias(axes: Axes, title: str, lines: Sequence[Line]) -> None:
    """Draw the bias and its interval, the bar as a band, and the replaced estimators where they are that good."""
    snrs_db = [line.snr_db for line in lines if line.snr_db is not None]
    values = np.array([line.value for line in lines])
    reach = np.array([line.high for line in lines]) - values
    axes.errorbar(snrs_db, values, yerr=reach, fmt="o-", capsize=3, label="heimdall_assets")
    plain = [line.plain for line in lines if line.plain is not None]
    axes.plot(snrs_db, plain, "s--", color="tab:red", label="replaced estimators")
    _bars(axes, {line.snr_db: line.bar for line in lines})
    axes.set_yscale("symlog", linthresh=0.5, linscale=2)
    axes.set_ylim(-30, 30)
    axes.set_yticks([-20, -5, -1, -0.5, -0.2, 0, 0.2, 0.5, 1, 5, 20])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_title(title)
    axes.set_xlabel("SNR in dB")
    axes.set_ylabel("bias of snr_db in dB")


def _bars(axes: Axes, bars: dict[float | None, float | None]) -> None:
    known = sorted((snr_db, bar) for snr_db, bar in bars.items() if snr_db is not None and bar is not None)
    if known:
        snrs_db, heights = (np.array(column) for column in zip(*known, strict=True))
        axes.fill_between(snrs_db, -heights, heights, color="tab:green", alpha=0.2, label="bar")


def _reliability(axes: Axes, result: Outcomes) -> None:
    """Draw how often chunks of a given confidence are right."""
    probability = result.probability()
    bins = np.minimum((probability * ERROR_BINS).astype(int), ERROR_BINS - 1)
    kept = [index for index in range(ERROR_BINS) if np.count_nonzero(bins == index)]
    claimed = [probability[bins == index].mean() for index in kept]
    right = [result.is_right[bins == index].mean() for index in kept]
    counts = np.array([np.count_nonzero(bins == index) for index in kept])
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.scatter(claimed, right, s=20 + 200 * counts / counts.max())
    axes.set_title("reliability on held-out classes")
    axes.set_xlabel("confidence_score")
    axes.set_ylabel("share that is right")


def draw_reliability(path: Path, result: Outcomes, seed: int) -> None:
    """Draw how often chunks of a given confidence are right into a file."""
    error = expected_calibration_error(result.probability(), result.is_right)
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # names of settings are literals there
        figure = sheet(6, 5)
        _reliability(figure.subplots(), result)
        figure.suptitle(f"{len(result.is_right)} chunks, seed {seed}: expected calibration error {error:.3f}")
        save(figure, path)


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description="Reliability of confidence_score on classes that were left out.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chunks", type=int, default=4000)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", required=True)
    arguments = parser.parse_args()
    draw_reliability(arguments.output, confidence_outcomes(arguments.seed, arguments.chunks), arguments.seed)


if __name__ == "__main__":
    main()
