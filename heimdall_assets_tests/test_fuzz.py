"""The command that sends damaged recordings through the readers: it repeats itself, and it notices what it is for."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from typing import Any

import pytest

from heimdall_assets.errors import StoreUnavailable
from heimdall_assets_tests import fuzz
from heimdall_assets_tests.iq.mutations import case


def report_of(*options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "heimdall_assets_tests.fuzz", "--json", *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def test_mutations_are_read_or_refused_and_their_outcome_is_counted() -> None:
    report = report_of("--mutations", "200", "--seed", "5")
    assert (report["mutations"], report["seed"]) == (200, 5)
    assert [report[word] for word in fuzz.BAD] == [0, 0, 0, 0]
    assert sum(report["outcomes"].values()) == 200
    assert {"read", "malformed", "truncated"} <= set(report["outcomes"])


def test_a_mutation_is_the_same_whenever_it_is_made() -> None:
    made = [case(random.Random(f"5:{number}")) for number in (7, 8, 7)]
    assert made[0].name == made[2].name
    assert made[0].specimen.files == made[2].specimen.files
    assert made[0].specimen.files != made[1].specimen.files


def _defect() -> None:
    raise KeyError("shape")


def _lack_of_memory() -> None:
    raise MemoryError


def _hidden_lack_of_memory() -> None:
    raise StoreUnavailable("the store's client failed") from MemoryError()


def _endless() -> None:
    try:
        time.sleep(60)
    except Exception:  # noqa: BLE001  # as a reader might that maps a client's errors
        _defect()


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (_defect, "crashes"),
        (_lack_of_memory, "over_memory"),
        (_hidden_lack_of_memory, "over_memory"),
        (_endless, "hangs"),
    ],
)
def test_what_must_not_happen_is_told(monkeypatch: pytest.MonkeyPatch, fault: Any, word: str) -> None:
    monkeypatch.setattr(fuzz, "MUTATION_SECONDS", 0.2)
    monkeypatch.setattr(fuzz, "open_iq", lambda *_, **__: fault())
    assert fuzz.judged("rx.npy", with_features=False)[0] == word


def test_a_dead_child_is_counted_and_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import json, os, sys; first = int(sys.argv[4]); "
        "print(json.dumps({'number': first, 'case': 'x', 'outcome': 'read', 'seconds': 0}), flush=True); os.abort()"
    )
    monkeypatch.setattr(fuzz, "WORKER", (sys.executable, "-c", code))
    told = [(result["number"], result["outcome"]) for result in fuzz.results(1, 10, 4)]
    assert told == [(10, "read"), (11, "crashes"), (12, "read"), (13, "crashes")]


def test_children_that_all_die_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "WORKER", (sys.executable, "-c", "import os; os.abort()"))
    assert len(list(fuzz.results(1, 0, 1000))) == fuzz.MOST_DEATHS
