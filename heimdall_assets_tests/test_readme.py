"""The README says what is so."""

from __future__ import annotations

from pathlib import Path

from heimdall_assets.settings import settings_table

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_readme_lists_every_setting_as_settings_py_declares_it() -> None:
    for name, default, meaning in settings_table():
        assert f"| {name} | {default} | {meaning} |" in README


def test_every_file_that_the_readme_names_exists() -> None:
    package = Path(__file__).parents[1] / "heimdall_assets"
    for name in (
        "errors.py",
        "records.py",
        "settings.py",
        "extraction",
        "planning.py",
        "ingest",
        "definitions.py",
        "embedded.py",
        "processes.py",
        "dsp",
        "iq",
        "db",
        "defs",
        "cli",
        "synthetic",
    ):
        assert name in README
        assert (package / name).exists()
    docs = Path(__file__).parents[1] / "docs"
    assert all((docs / name).is_file() for name in ("partitions.png", "features.md", "recording.png"))
