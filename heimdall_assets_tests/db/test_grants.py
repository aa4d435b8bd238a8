"""An old database, upgraded by its owner with psql, and a role that has nothing but the printed grants."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance

from heimdall_assets.cli import database as cli
from heimdall_assets.cli.database import connected
from heimdall_assets.db import coverage, migrate, requests, states
from heimdall_assets.db.engine import autocommit, open_engine, transaction
from heimdall_assets.db.progress import Progress, progress
from heimdall_assets.db.requests import Selection
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.defs.planner import Plan, plan_tick
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.errors import WrongDatabase
from heimdall_assets.extraction import extract_session
from heimdall_assets.ingest import ingest
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import Settings, current_settings, load_settings
from heimdall_assets_tests.conftest import drop_database, environment_of, make_database, settings_for
from heimdall_assets_tests.db.psql import run_script
from heimdall_assets_tests.db.test_registration import new_session, register
from heimdall_assets_tests.factory import SessionFactory
from heimdall_assets_tests.test_adoption import OLD_TABLES, UPSERT, fill, foreign_row
from heimdall_assets_tests.test_ingest import STATIONS, write_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy.engine import URL, Engine

SESSIONS = 6


@dataclass(frozen=True)
class Roles:
    """A database whose owner is not the role that runs the pipeline."""

    url: URL
    owner: str
    runtime: str

    def psql(self, script: str) -> None:
        """Run a script as the owner, as a DBA does."""
        run_script(self.url.set(username=self.owner), script)


@pytest.fixture
def roles(server_url: URL) -> Iterator[Roles]:
    """An old database with rows; its owner may do nothing but what owners may, and the other role nothing at all."""
    url = make_database(server_url, template="template0")
    roles = Roles(url, f"owner {url.database}", f'Runtime "{url.database}"')
    admin = open_engine(url)
    with autocommit(admin) as connection:
        quoted = connection.dialect.identifier_preparer.quote_identifier
        for name in (roles.owner, roles.runtime):
            connection.exec_driver_sql(f"CREATE ROLE {quoted(name)} LOGIN")
        connection.exec_driver_sql(OLD_TABLES)
        connection.exec_driver_sql(f"ALTER SCHEMA heimdall OWNER TO {quoted(roles.owner)}")
        for table in ("websdr_stations", "known_sources", "recording_sessions", "measurements", "measurement_features"):
            connection.exec_driver_sql(f"ALTER TABLE heimdall.{table} OWNER TO {quoted(roles.owner)}")
        # Dagster's tables are nobody else's: its role owns their database.
        connection.exec_driver_sql(f"CREATE DATABASE {url.database}_dagster OWNER {quoted(roles.runtime)}")
    yield roles
    for database in (f"{url.database}_dagster", url.database):
        drop_database(url.set(database=database))
    admin.dispose()
    maintenance = open_engine(url.set(database="postgres"))
    with autocommit(maintenance) as connection:
        for name in (roles.owner, roles.runtime):
            connection.exec_driver_sql(f"DROP ROLE {quoted(name)}")
    maintenance.dispose()


@pytest.fixture
def runtime_settings(roles: Roles, tmp_path: Path) -> Settings:
    """Settings of the role that runs the pipeline."""
    return settings_for(roles.url.set(username=roles.runtime), tmp_path)


@pytest.fixture
def runtime(runtime_settings: Settings) -> Iterator[Engine]:
    """Engine of the role that runs the pipeline."""
    engine = open_engine(heimdall_url(runtime_settings), pool_size=8)
    yield engine
    engine.dispose()


def printed_grants(capsys: pytest.CaptureFixture[str], role: str, *, ingest: bool = False) -> str:
    """What `heimdall db grants` prints."""
    capsys.readouterr()
    cli.grants(role, ingest=ingest)
    return capsys.readouterr().out


def printed_upgrade(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, roles: Roles, folder: Path
) -> str:
    """What `heimdall db upgrade --sql` prints for the database's owner."""
    settings = settings_for(roles.url.set(username=roles.owner), folder)
    with monkeypatch.context() as patch:
        patch.setenv("HEIMDALL_DATABASE_URL", str(settings.database_url))
        capsys.readouterr()
        cli.upgrade(sql=True)
    return capsys.readouterr().out


@pytest.fixture
def granted(
    roles: Roles, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> list[UUID]:
    """The old database has sessions, and both printed scripts were run by its owner; the sessions."""
    owner = open_engine(roles.url.set(username=roles.owner))
    keys = fill(owner, SESSIONS)
    with transaction(owner) as connection:
        connection.execute(sa.text(UPSERT), [foreign_row(keys[0])])
    roles.psql(printed_upgrade(capsys, monkeypatch, roles, tmp_path))
    migrate.require_current(owner)
    assert migrate.upgrade(owner) == (migrate.head_revision(), migrate.head_revision())
    owner.dispose()
    roles.psql(printed_grants(capsys, roles.runtime))
    roles.psql(printed_grants(capsys, roles.runtime))  # repeating them changes nothing
    return keys


def test_a_role_with_the_printed_grants_discovers_extracts_stores_and_answers_requests(
    granted: list[UUID],
    runtime: Engine,
    runtime_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    SessionFactory(runtime, runtime_settings).write_files()
    for name, value in environment_of(runtime_settings, tmp_path).items():
        monkeypatch.setenv(name, value)
    current_settings.cache_clear()

    def tick(instance: DagsterInstance, *, is_schedule: bool = False) -> Plan:
        return plan_tick(instance, runtime, runtime_settings, since=None, is_schedule=is_schedule)

    def ask(selection: Selection) -> UUID:
        with transaction(runtime) as connection:
            return requests.submit(connection, selection, requested_by="a test")

    def look(request_id: UUID) -> Progress:
        with transaction(runtime) as connection:
            return progress(connection, request_id)

    with connected(load_settings()), DagsterInstance.get() as instance:
        stale, pending = ask(Selection(stale=True)), ask(Selection(pending=True))
        first = tick(instance)
        assert [(batch.lane, len(batch.session_ids)) for batch in first.batches] == [("backlog", 5), ("request", 1)]
        for batch in first.batches:
            for key in batch.session_ids:
                assert extract_session(runtime, key, runtime_settings, stale=batch.stale).computed
        tick(instance)
        tick(instance, is_schedule=True)
    assert [(look(key).status, look(key).done) for key in (stale, pending)] == [("done", 1), ("done", 5)]
    with transaction(runtime) as connection:
        assert states.ignore(connection, granted[:1]) == granted[:1]
        assert states.ignore(connection, granted[:1], undo=True) == granted[:1]
        assert requests.cancel(connection, requests.submit(connection, Selection(failed=True), requested_by="x"))
        assert coverage.report_coverage(connection, feature_version=FEATURE_VERSION)["recordings_with_features"] == 6
        assert connection.scalar(sa.text("SELECT count(*) FROM heimdall.measurement_features_history")) == 1
    with Heimdall().engine() as engine, transaction(engine) as connection:
        assert json.dumps(coverage.coverage_figures(connection, feature_version=FEATURE_VERSION))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO heimdall.known_sources (id, name) VALUES (gen_random_uuid(), 'x')",
        "UPDATE heimdall.measurements SET iq_data_location = NULL",
        "DELETE FROM heimdall.recording_sessions",
        "DELETE FROM heimdall.measurement_features",
        "TRUNCATE heimdall.feature_states",
        "ALTER TABLE heimdall.feature_states ADD COLUMN x int",
        "UPDATE heimdall.feature_alembic_version SET version_num = 'x'",
        "CREATE TABLE heimdall.x ()",
    ],
)
@pytest.mark.usefixtures("granted")
def test_the_role_may_do_nothing_else(runtime: Engine, statement: str) -> None:
    with pytest.raises(WrongDatabase, match="lacks a privilege"), transaction(runtime) as connection:
        connection.execute(sa.text(statement))


@pytest.mark.usefixtures("granted")
def test_registering_recordings_is_a_grant_of_its_own(
    roles: Roles, runtime: Engine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(WrongDatabase, match="lacks a privilege"):
        register(runtime, new_session())
    roles.psql(printed_grants(capsys, roles.runtime, ingest=True))
    # the old tables ask for a URL of every station, which no recording says
    roles.psql("ALTER TABLE heimdall.websdr_stations ALTER url DROP NOT NULL;")
    assert register(runtime, new_session())
    folder = write_folder(tmp_path / "in")
    for changes in ({}, {"session_start": "2025-01-01T00:00:00Z", "sample_rate_hz": 9000}):
        (folder / "stations.json").write_text(json.dumps({**STATIONS, **changes}))
        (result,) = ingest([folder], runtime, settings_for(roles.url, tmp_path))
    assert {each.field for each in result.corrections} == {"session_start", "sample_rate_hz"}
