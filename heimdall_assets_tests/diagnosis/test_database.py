"""Checks of PostgreSQL against real faults: no server, an old revision, a silent daemon, other code."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from heimdall_assets.db import heartbeats, migrate, pauses
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.diagnosis.database import clock_finding, dagster_finding, database_findings
from heimdall_assets.release import this_process
from heimdall_assets_tests.conftest import drop_database, make_database
from heimdall_assets_tests.db.test_migrate import upgrade_to

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import URL, Engine

    from heimdall_assets.diagnosis import Finding
    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory


def found(settings: Settings) -> dict[str, Finding]:
    """Findings by check."""
    return {finding.check: finding for finding in database_findings(settings)}


def test_all_is_well_where_a_planner_with_this_code_was_at_work(settings: Settings, engine: Engine) -> None:
    with transaction(engine) as connection:
        heartbeats.beat(connection, heartbeats.PLANNER, this_process())
    findings = found(settings)
    assert list(findings) == ["database", "clock", "migrations", "pause", "daemon", "planning", "rows", "code"]
    assert {finding.status for finding in findings.values()} == {"ok"}
    assert {finding.remedy for finding in findings.values()} == {None}
    assert findings["migrations"].message.startswith(f"revision {migrate.head_revision()},")
    assert f"process {this_process().pid}" in findings["daemon"].message


def test_a_server_that_is_away_is_all_that_is_said(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://nobody:secret@127.0.0.1:1/nothing"})
    [finding] = database_findings(away)
    assert (finding.check, finding.status) == ("database", "failure")
    assert finding.message.startswith("PostgreSQL is not available: ")
    assert "HEIMDALL_DATABASE_URL" in str(finding.remedy)
    assert "secret" not in finding.message


def test_no_embedded_server_names_what_starts_it(settings: Settings, tmp_path: Path) -> None:
    embedded = settings.model_copy(update={"database_url": None, "home": tmp_path / "empty"})
    [finding] = database_findings(embedded)
    assert (finding.check, finding.status) == ("database", "failure")
    assert "`heimdall up`" in str(finding.remedy)
    assert dagster_finding(embedded).status == "failure"


def test_an_older_revision_and_a_newer_one_say_what_to_do(settings: Settings, server_url: URL, engine: Engine) -> None:
    url = make_database(server_url, template="template0")
    old = open_engine(url)
    upgrade_to(old, "0007")
    old.dispose()
    findings = found(settings.model_copy(update={"database_url": url.render_as_string(hide_password=False)}))
    drop_database(url)
    assert list(findings) == ["database", "clock", "migrations"]
    assert findings["migrations"].status == "failure"
    assert "is at revision 0007" in findings["migrations"].message
    assert findings["migrations"].remedy == "run `heimdall db upgrade`"
    with transaction(engine) as connection:
        connection.execute(sa.text("UPDATE heimdall.feature_alembic_version SET version_num = '9999'"))
    newer = found(settings)["migrations"]
    assert (newer.status, newer.remedy) == ("failure", "install a newer one")


def test_a_daemon_that_never_came_and_one_that_is_silent_are_failures(
    settings: Settings, engine: Engine, factory: SessionFactory
) -> None:
    findings = found(settings)
    assert (findings["daemon"].status, findings["code"].status) == ("failure", "ok")
    assert findings["daemon"].message == "no daemon has ever planned with this database"
    with transaction(engine) as connection:
        heartbeats.beat(connection, heartbeats.PLANNER, this_process())
    factory.rows("UPDATE heimdall.feature_heartbeats SET beat_at = beat_at - interval '2 minutes' RETURNING 1")
    silent = found(settings)["daemon"]
    assert silent.status == "failure"
    assert silent.message.startswith("silent for 12")
    assert this_process().host in silent.message


def test_a_daemon_with_other_code_or_without_a_word_of_it_is_a_warning(settings: Settings, engine: Engine) -> None:
    older = replace(
        this_process(),
        host="elsewhere",
        started_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        release=replace(this_process().release, package_version="0.0.9"),
    )
    with transaction(engine) as connection:
        heartbeats.beat(connection, heartbeats.PLANNER, older)
    stale = found(settings)["code"]
    assert stale.status == "warning"
    assert stale.message.startswith("the daemon on elsewhere runs 0.0.9 (features ")
    assert "since 2026-01-31 12:00 UTC; installed here is " in stale.message
    assert str(stale.remedy).startswith("restart")
    with transaction(engine) as connection:
        heartbeats.beat(connection, heartbeats.PLANNER)
    mute = found(settings)["code"]
    assert (mute.status, "does not say what it runs" in mute.message) == ("warning", True)


def test_a_pause_is_a_warning_with_its_words(settings: Settings, engine: Engine) -> None:
    with transaction(engine) as connection:
        held, _ = pauses.pause(connection, by="cli ada", reason="new disks")
    finding = found(settings)["pause"]
    assert (finding.status, finding.message) == ("warning", held.in_words)
    assert "`heimdall resume`" in str(finding.remedy)


def test_a_role_that_may_not_read_our_tables_is_told_of_the_grants(
    settings: Settings, engine: Engine, server_url: URL
) -> None:
    with transaction(engine) as connection:
        role = f"reader_{engine.url.database}"
        connection.execute(sa.text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(sa.text(f"GRANT USAGE ON SCHEMA heimdall TO {role}"))
        connection.execute(sa.text(f"GRANT SELECT ON heimdall.feature_alembic_version TO {role}"))
    url = engine.url.set(username=role).render_as_string(hide_password=False)
    findings = found(settings.model_copy(update={"database_url": url}))
    with transaction(engine) as connection:
        connection.execute(sa.text(f"DROP OWNED BY {role}"))
        connection.execute(sa.text(f"DROP ROLE {role}"))
    assert findings["tables"].status == "failure"
    assert "lacks a privilege" in findings["tables"].message
    assert "heimdall db grants" in str(findings["tables"].remedy)


def test_dagsters_database_is_missing_or_answers(settings: Settings, engine: Engine) -> None:
    missing = dagster_finding(settings)
    assert (missing.status, "does not exist" in missing.message) == ("failure", True)
    there = settings.model_copy(update={"dagster_database_url": settings.database_url})
    assert dagster_finding(there).status == "ok"
    away = settings.model_copy(update={"dagster_database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    assert dagster_finding(away).message.startswith("PostgreSQL is not available: ")


@pytest.mark.parametrize(
    ("ahead_s", "status", "said"),
    [
        (0.2, "ok", "0.2 s ahead"),
        (-4.9, "ok", "4.9 s behind"),
        (-5.0, "warning", "5.0 s behind"),
        (300.0, "failure", "300.0 s ahead"),
    ],
)
def test_a_clock_that_is_off_is_a_warning_then_a_failure(ahead_s: float, status: str, said: str) -> None:
    finding = clock_finding(ahead_s)
    assert (finding.status, said in finding.message) == (status, True)
    assert (finding.remedy is None) == (status == "ok")
