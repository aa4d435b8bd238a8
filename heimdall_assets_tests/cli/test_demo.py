"""`heimdall demo`: the real pipeline from nothing to coverage, and nothing more the second time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heimdall_assets_tests.cli.test_running import heimdall, left_behind

if TYPE_CHECKING:
    from pathlib import Path


def test_demo_covers_its_network_reports_what_it_broke_and_adds_nothing_when_repeated(tmp_path: Path) -> None:
    home = tmp_path / "home"
    arguments = ("demo", "--sessions", "8", "--receivers", "3")
    first = heimdall(home, *arguments)
    assert first["total_recordings"] == 8
    assert first["recordings_with_features"] == 6
    assert first["recordings_partial"] == 1
    assert first["measurements_with_features"] == 17
    assert first["total_measurements"] == 24
    assert first["coverage_percent"] == 75.0
    assert {failure["reason"] for failure in first["failed"]} == {"truncated", "not_found"}
    assert not left_behind(home)
    second = heimdall(home, *arguments)
    del first["seconds"], second["seconds"]
    assert second == first
    assert (home / "demo").is_dir()
