"""`heimdall reconcile` as people run it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.cli import main
from heimdall_assets.db import discovery, reconciliations, states, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.progress import progress
from heimdall_assets.extraction import extract_session
from heimdall_assets_tests.cli.test_backfill import run  # noqa: F401  # a fixture
from heimdall_assets_tests.db.rows import add_features, loosen_stations
from heimdall_assets_tests.factory import GOOD

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory


def reconcile(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
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
    assert reconcile(monkeypatch, "--check") == 0
    assert capsys.readouterr().out == "The ledger agrees with the tables.\n"
    with transaction(engine) as connection:
        connection.execute(sa.text("UPDATE heimdall.feature_states SET state = 'pending'"))
    expected = [
        {"session_id": str(key), "stored": "pending", "should_be": "done", "why": "features are there"},
    ]
    for _ in range(2):
        assert reconcile(monkeypatch, "--check", "--json") == 1
        assert json.loads(capsys.readouterr().out) == expected
    assert reconcile(monkeypatch, "--check") == 1
    assert str(key) in capsys.readouterr().out
    assert reconcile(monkeypatch, "--json") == 0
    repaired = {"discovered": 0, "forgotten": 0, "lost": 0, "corrected": 1, "recounted": False}
    printed = json.loads(capsys.readouterr().out)
    assert {name: printed[name] for name in repaired} == repaired
    assert (printed["status"], printed["unreported"]) == ("queued", 1)
    assert reconcile(monkeypatch, "--check", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert factory.state(key) == "done"


def test_a_dry_run_counts_what_differs_and_asks_for_nothing(
    run: Any,  # noqa: F811
    factory: SessionFactory,
    engine: Engine,
    settings: Settings,
) -> None:
    ids = factory.add_many(3)
    for key in ids[:2]:
        extract_session(engine, key, settings)
    with transaction(engine) as connection:
        discovery.discover(connection)
    factory.rows("UPDATE heimdall.feature_states SET registered_at = now() RETURNING 1")
    factory.rows("DELETE FROM heimdall.recording_sessions WHERE id = :id RETURNING 1", id=ids[2])
    code, output, _ = run("reconcile", "--dry-run", "--json")
    assert (code, json.loads(output)) == (0, {"unreported": 2, "vanished": 1, "beyond_window": 0})
    code, output, _ = run("reconcile", "--dry-run")
    assert "2 sessions with features that Dagster was not told of" in output
    assert "1 partitions without a completed session" in output
    assert factory.scalar("SELECT count(*) FROM heimdall.feature_requests") == 0


def test_without_a_daemon_the_request_is_kept_and_that_is_said(run: Any, factory: SessionFactory) -> None:  # noqa: F811
    code, output, errors = run("reconcile", "--json")
    assert code == 0
    assert json.loads(output)["status"] == "queued"
    assert errors.startswith("no daemon is alive")
    assert factory.rows("SELECT kind, requested_by LIKE 'cli %' FROM heimdall.feature_requests") == [
        ("reconcile", True)
    ]


def test_a_request_that_was_answered_is_done(engine: Engine) -> None:
    with transaction(engine) as connection:
        before = states.database_time(connection)
        request_id = reconciliations.submit(connection, requested_by="a test")
        assert reconciliations.answer(connection, begun_at=before) == 0  # that one began before it was asked
        assert reconciliations.answer(connection, begun_at=states.database_time(connection)) == 1
    with transaction(engine) as connection:
        assert progress(connection, request_id).status == "done"


def test_receivers_that_were_deleted_are_explained_and_no_defect(
    run: Any,  # noqa: F811
    factory: SessionFactory,
    engine: Engine,
    settings: Settings,
) -> None:
    ours, theirs = factory.add((GOOD, GOOD)), factory.add((GOOD, GOOD), minutes=5)
    extract_session(engine, ours, settings)
    with transaction(engine) as connection:
        add_features(connection, theirs, [{"rx_id": "RX1"}, {"rx_id": "RX2"}])
        discovery.discover(connection)
        work.absorb_changes(connection, 9)
        loosen_stations(connection)
    gone = factory.scalar("DELETE FROM heimdall.websdr_stations WHERE name = 'RX1' RETURNING id")
    code, output, errors = run("reconcile", "--check", "--json")
    assert (code, json.loads(output)) == (0, [])
    assert f"2 sessions have measurements of receiver {gone}" in " ".join(errors.split())
