"""Fault points: each is where it says, a process that comes to one dies once, and others do not notice."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heimdall_assets_tests.chaos.points import FOLDER_VARIABLE, KILL_POINTS, READS, SLOW, Markers, write_hook

if TYPE_CHECKING:
    from heimdall_assets_tests.chaos.points import Place

SOURCE_TREE = Path(__file__).parents[2]
READ = """
from pathlib import Path
from heimdall_assets.iq.sources import LocalFile
from heimdall_assets.errors import StoreUnavailable
try:
    print(LocalFile(Path(__file__)).size_bytes > 0)
except StoreUnavailable as error:
    print(error.reason)
"""
STORE = """
from heimdall_assets.extraction import session
try:
    session.store_result(None, None, None)
except AttributeError:
    print("alive")
"""


@pytest.mark.parametrize("place", [*KILL_POINTS.values(), SLOW, READS], ids=str)
def test_every_point_is_a_function_of_the_package(place: Place) -> None:
    found = functools.reduce(getattr, place.attribute.split("."), importlib.import_module(place.module))
    assert callable(found)


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    write_hook(folder / "hook")
    path = folder / "script.py"
    path.write_text(script)
    paths = os.pathsep.join([str(folder / "hook"), str(SOURCE_TREE)])
    environment = {**os.environ, "PYTHONPATH": paths, FOLDER_VARIABLE: str(folder / "markers")}
    return subprocess.run([sys.executable, str(path)], env=environment, capture_output=True, text=True, check=False)


def test_an_armed_point_kills_the_one_process_that_comes_to_it_first(tmp_path: Path) -> None:
    markers = Markers(tmp_path / "markers")
    markers.arm("computed, not stored")
    assert run(STORE, tmp_path).returncode == -signal.SIGKILL
    assert markers.struck() == ["computed, not stored"]
    assert run(STORE, tmp_path).stdout == "alive\n"
    markers.arm("computed, not stored")
    markers.disarm()
    assert run(STORE, tmp_path).stdout == "alive\n"
    assert markers.struck() == ["computed, not stored"]


def test_reads_fail_for_as_long_as_they_are_to(tmp_path: Path) -> None:
    markers = Markers(tmp_path / "markers")
    markers.fail_reads(fail=True)
    assert run(READ, tmp_path).stdout == "store_unavailable\n"
    markers.fail_reads(fail=False)
    assert run(READ, tmp_path).stdout == "True\n"
