"""The accuracy report: its intervals, its rows, its picture. What the estimators reach is tested in dsp/."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from heimdall_assets_tests.benchmarks import accuracy
from heimdall_assets_tests.benchmarks import accuracy_jobs as work
from heimdall_assets_tests.benchmarks.accuracy_filters import filter_lines, gap_lines
from heimdall_assets_tests.benchmarks.accuracy_fronts import signal_lines
from heimdall_assets_tests.benchmarks.accuracy_noise import front_lines, white_lines
from heimdall_assets_tests.benchmarks.accuracy_rows import ROWS, SHORT_LENGTH
from heimdall_assets_tests.benchmarks.accuracy_rows import signal_lines as white_signal_lines
from heimdall_assets_tests.benchmarks.accuracy_samples import clipped_lines, dc_lines
from heimdall_assets_tests.benchmarks.intervals import bias_line, rate_line, rmse_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_the_interval_of_a_rate_is_wilsons() -> None:
    # R. G. Newcombe, "Two-Sided Confidence Intervals for the Single Proportion", Statistics in Medicine 17, 1998,
    # table I: 81 of 263 is 0.2553 .. 0.3662
    line = rate_line("signal", "detected", None, np.arange(263) < 81, 0.3, at_least=True)
    assert (line.low, line.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert line.holds
    assert not rate_line("signal", "false alarms", None, np.arange(263) < 81, 0.3, at_least=False).holds


def test_errors_of_chunks_without_a_signal_are_left_out() -> None:
    errors = np.array([0.3, np.nan, -0.1, 0.1])
    assert bias_line("signal", "bias", 0.0, errors, 0.2).value == pytest.approx(0.1)
    assert rmse_line("signal", "rmse", 0.0, errors, 0.1).value == pytest.approx(np.sqrt(0.11 / 3))
    assert not rmse_line("signal", "rmse", 0.0, errors, 0.1).holds


def test_a_bar_over_nothing_found_is_missed() -> None:
    nothing = np.full(4, np.nan)
    assert not bias_line("signal", "bias", 0.0, nothing, 0.2).holds
    assert bias_line("signal", "bias", 0.0, nothing, None).holds


def test_a_constant_part_is_reported_unless_it_is_taken_off() -> None:
    assert all(line.holds for line in dc_lines(seed=1, count=1))


def test_clipped_samples_are_flagged_with_their_fraction() -> None:
    assert all(line.holds for line in clipped_lines(seed=1, count=2))


def test_every_row_that_the_report_promises_is_measured() -> None:
    names = [job.name for job in work.jobs(1, work.Counts(2, 6))]
    assert {"noise", "cw", "wlan_ofdm", "weak signals", "burst behind front ends", "3% filter", "90% lost"} <= set(
        names
    )


def few(seed: int, counts: work.Counts) -> Iterator[work.Job]:
    """One job of each kind, short chunks where there is a choice."""
    yield work.Job("noise", partial(white_lines, seed, SHORT_LENGTH, counts.noise_chunks))
    yield work.Job("fronts", partial(front_lines, [None, ("cic", 3.0)], seed, SHORT_LENGTH, counts.noise_chunks, 1e-3))
    yield work.Job("cw", partial(white_signal_lines, ROWS[0], 20.0, seed, counts.chunks, SHORT_LENGTH))
    yield work.Job("cw", partial(white_signal_lines, ROWS[0], 20.0, seed, counts.chunks))
    yield work.Job("cw behind", partial(signal_lines, "cw", 20.0, seed, SHORT_LENGTH, counts.chunks))
    yield work.Job("filter", partial(filter_lines, 0.5, 12_000.0, seed, counts.chunks))
    yield work.Job("gaps", partial(gap_lines, 0.1, 1, SHORT_LENGTH, seed, counts.chunks))


@pytest.mark.parametrize(("processes", "implementation"), [(1, "numpy"), (2, "numba")])
def test_the_report_is_printed_and_drawn(
    processes: int,
    implementation: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    picture = tmp_path / "accuracy.png"
    monkeypatch.setattr(accuracy, "jobs", few)
    options = {
        "chunks": 2,
        "noise-chunks": 6,
        "confidence-chunks": 30,
        "processes": processes,
        "implementation": implementation,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    monkeypatch.setattr(sys, "argv", ["accuracy", "--json", "-o", str(picture), *arguments])
    status = accuracy.main()
    document = json.loads(capsys.readouterr().out)
    assert document["holds"] is (status == 0)
    assert {"signal", "figure", "snr_db", "value", "low", "high", "bar", "holds", "plain"} == set(document["rows"][0])
    signals = [row["signal"] for row in document["rows"]]
    assert {"cw", "noise cic 3 dB, 2400", "noise in 50% filter, 12 kHz", "held-out classes"} <= set(signals)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_progress_is_shown_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = [job for job in few(1, work.Counts(2, 6)) if job.name == "cw"]
    assert sum(len(lines) for lines in work.measured(some, 1, None)) > 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    list(work.measured(some, 1, None))
    assert "2 of 2 parts" in capsys.readouterr().err
