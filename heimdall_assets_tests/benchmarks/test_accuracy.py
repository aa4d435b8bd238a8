"""The accuracy report: its intervals, its rows, its picture. What the estimators reach is tested in dsp/."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from heimdall_assets_tests.benchmarks import accuracy
from heimdall_assets_tests.benchmarks.accuracy_rows import Row, clipped_lines, dc_lines
from heimdall_assets_tests.benchmarks.intervals import bias_line, rate_line, rmse_line

if TYPE_CHECKING:
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


def test_the_report_is_printed_and_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "accuracy.png"
    monkeypatch.setattr(accuracy, "ROWS", (Row("cw", (0, 20), rmse_db=0.2),))
    for lines in ("buried_lines", "weak_lines", "carrier_lines", "dc_lines", "clipped_lines"):
        monkeypatch.setattr(accuracy, lines, lambda *_: iter(()))
    counts = {"chunks": 2, "noise-chunks": 6, "confidence-chunks": 30}
    arguments = [f"--{name}={count}" for name, count in counts.items()]
    monkeypatch.setattr(sys, "argv", ["accuracy", "--json", "-o", str(picture), *arguments])
    status = accuracy.main()
    document = json.loads(capsys.readouterr().out)
    assert document["holds"] is (status == 0)
    assert {"signal", "figure", "snr_db", "value", "low", "high", "bar", "holds", "plain"} == set(document["rows"][0])
    assert {row["signal"] for row in document["rows"]} >= {"cw", "held-out classes"}
    assert picture.read_bytes().startswith(b"\x89PNG")
