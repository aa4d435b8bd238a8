"""`heimdall reconcile` as people run it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from heimdall_assets.cli.app import main
from heimdall_assets.db.engine import transaction
from heimdall_assets.extraction import extract_session

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of the command."""
    monkeypatch.setattr("sys.argv", ["heimdall", "reconcile", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_check_lists_what_disagrees_and_changes_nothing_and_without_it_that_is_set_right(
    engine: Engine,
    factory: SessionFactory,
    settings: Settings,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = factory.add()
    extract_session(engine, key, settings)
    assert run(monkeypatch, "--check") == 0
    assert capsys.readouterr().out == "The ledger agrees with the tables.\n"
    with transaction(engine) as connection:
        connection.execute(sa.text("UPDATE heimdall.feature_states SET state = 'pending'"))
    expected = [
        {"session_id": str(key), "stored": "pending", "should_be": "done", "why": "features are there"},
    ]
    for _ in range(2):
        assert run(monkeypatch, "--check", "--json") == 1
        assert json.loads(capsys.readouterr().out) == expected
    assert run(monkeypatch, "--check") == 1
    assert str(key) in capsys.readouterr().out
    assert run(monkeypatch, "--json") == 0
    repaired = {"discovered": 0, "forgotten": 0, "lost": 0, "corrected": 1, "recounted": False}
    assert json.loads(capsys.readouterr().out) == repaired
    assert run(monkeypatch, "--check", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert factory.state(key) == "done"
