"""`heimdall dashboard`: one file, whole or not there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from heimdall_assets.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets_tests.factory import SessionFactory


def test_it_writes_the_dashboard_and_replaces_what_was_there(
    environment: Path, factory: SessionFactory, tmp_path: Path
) -> None:
    factory.add_many(3)
    path = tmp_path / "report.html"
    path.write_text("old")
    result = CliRunner().invoke(app, ["dashboard", "-o", str(path), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"output": str(path), "bytes": path.stat().st_size}
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "3 sessions" in text
    assert "<script" not in text
    assert not [other for other in tmp_path.iterdir() if other.name.startswith(".report")]


def test_a_file_that_cannot_be_is_a_clear_error(environment: Path, tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "report.pdf", "it must end in .html"),
        (tmp_path / "no-such-folder" / "report.html", "cannot be written: No such file or directory"),
    ):
        result = CliRunner().invoke(app, ["dashboard", "-o", str(path)])
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.split())
