"""How right the features are: seeded Monte-Carlo over signals and SNRs, beside the bar that each has to keep.

    python -m heimdall_assets_tests.benchmarks.accuracy [--seed 1] [--chunks 60] [--json] [-o plot.png]

Chunks of 40,000 samples at 200 kHz unless said; rows behind front ends, filters and gaps name their chunks' length or
their sample rate. Parts run side by side, in a process per core, and a terminal shows how far they are. Every figure
has its 95 % interval. The last column is what the estimators of the job that was replaced make of the same samples:
noise from the weakest 30 % of the bins, a signal wherever the total power exceeds it, bandwidth from the bins within
3 dB of the peak, frequency from the peak. ``-o`` draws bias over SNR, and how far confidence_score can be relied on.
Exits 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from heimdall_assets_tests.benchmarks.accuracy_confidence import confidence_line, confidence_outcomes
from heimdall_assets_tests.benchmarks.accuracy_jobs import IMPLEMENTATIONS, Counts, implemented_by, jobs, measured
from heimdall_assets_tests.benchmarks.accuracy_plot import draw

if TYPE_CHECKING:
    from heimdall_assets_tests.benchmarks.intervals import Line

HEADER = f"{'signal':34} {'SNR':>4}  {'figure':24} {'value':>9} {'95 %':>19} {'bar':>7}  {'replaced':>9}\n"


def text(line: Line) -> str:
    """Return a line of the printed table."""
    snr = "" if line.snr_db is None else f"{line.snr_db:g}"
    bar = "" if line.bar is None else f"{line.bar:g}"
    plain = "" if line.plain is None else f"{line.plain:9.4g}"
    missed = "" if line.holds else "  MISSED"
    return (
        f"{line.signal:34} {snr:>4}  {line.figure:24} {line.value:9.4f} {line.low:9.4f} ..{line.high:8.4f} "
        f"{bar:>7}  {plain:>9}{missed}\n"
    )


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description="Accuracy of the features, beside the bars.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chunks", type=int, default=60, help="chunks a row")
    parser.add_argument("--noise-chunks", type=int, default=20_000, help="chunks of noise alone, of either length")
    parser.add_argument("--confidence-chunks", type=int, default=4000, help="chunks of the reliability diagram")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="parts measured side by side")
    parser.add_argument("--implementation", choices=IMPLEMENTATIONS, help="default: what the installation has")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="draw the plot into this file (png, svg, pdf)"
    )
    arguments = parser.parse_args()
    lines: list[Line] = []

    def add(line: Line) -> None:
        lines.append(line)
        if not arguments.json:
            sys.stdout.write((HEADER if len(lines) == 1 else "") + text(line))

    work = list(jobs(arguments.seed, Counts(arguments.chunks, arguments.noise_chunks)))
    for part in measured(work, arguments.processes, arguments.implementation):
        for line in part:
            add(line)
        sys.stdout.flush()
    with implemented_by(arguments.implementation):
        result = confidence_outcomes(arguments.seed, arguments.confidence_chunks)
    add(confidence_line(result, arguments.seed))
    holds = all(line.holds for line in lines)
    if arguments.json:
        document = {"seed": arguments.seed, "chunks": arguments.chunks, "holds": holds}
        sys.stdout.write(json.dumps({**document, "rows": [asdict(line) for line in lines]}, indent=2) + "\n")
    if arguments.output:
        draw(arguments.output, lines, result, arguments.seed)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
