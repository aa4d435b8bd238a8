"""What keeps planning from its work is red wherever people look, and reporting never takes a plan back."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from dagster import DagsterEventType
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
from dagster._daemon.types import DaemonHeartbeat
from pydantic import SecretStr

from heimdall_assets.db import stoppages
from heimdall_assets.db.automation import PLANNERS
from heimdall_assets.db.engine import transaction
from heimdall_assets.defs.checks import CHECKS, PLANNING_GOES_ON
from heimdall_assets.diagnosis import FAILURE, OK, WARNING, diagnose
from heimdall_assets.errors import DatabaseError
from heimdall_assets.extraction import extract_session
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.defs.test_schedules import tick as schedule_tick
from heimdall_assets_tests.defs.test_sensors import requests_of, skipped, tick
from heimdall_assets_tests.web.client import Answer, Client
from heimdall_assets_tests.web.server import TOKEN, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from heimdall_assets.diagnosis import Finding
    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory


def run(engine: Engine, statement: str) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.text(statement))


@contextmanager
def without(engine: Engine, table: str) -> Iterator[None]:
    """A table of ours that is somewhere else: what needs it fails."""
    run(engine, f"ALTER TABLE heimdall.{table} RENAME TO parked")
    yield
    run(engine, f"ALTER TABLE heimdall.parked RENAME TO {table}")


def finding(name: str) -> Finding:
    """What `heimdall doctor` finds."""
    return next(found for found in diagnose(current_settings()) if found.check == name)


def latest_check(dagster: Dagster) -> bool | None:
    """Whether the asset check of planning passed when it was evaluated last."""
    [check] = [check for check in CHECKS if check.name == PLANNING_GOES_ON]
    record = dagster.instance.event_log_storage.get_latest_asset_check_execution_by_key([check.key]).get(check.key)
    event = record.event.dagster_event if record and record.event else None
    if event is None or event.event_type != DagsterEventType.ASSET_CHECK_EVALUATION:
        return None
    data: Any = event.event_specific_data
    return bool(data.passed)


@pytest.fixture
def client(settings: Settings, dagster: Dagster) -> Iterator[Client]:  # for its environment
    known = current_settings().model_copy(update={"admin_token": SecretStr(TOKEN)})
    with serving(known) as address:
        yield Client(address, TOKEN)


def health(client: Client) -> Answer:
    """What monitors see, without a token."""
    return Client(client.address).get("/health")


def test_what_stops_planning_is_red_everywhere_after_a_minute_and_gone_with_the_next_success(
    dagster: Dagster, factory: SessionFactory, engine: Engine, client: Client
) -> None:
    factory.add()
    with without(engine, "feature_vanished_partitions"):
        assert "a table of Heimdall is missing" in skipped(dagster)
        assert finding("planning").status == WARNING
        [warning] = health(client).document["warnings"]
        assert "the sensor failed once since" in warning
        assert latest_check(dagster) is None
        run(engine, "UPDATE heimdall.feature_stoppages SET since = since - interval '61 s'")
        skipped(dagster)
        answer = health(client)
        assert answer.status == 503
        assert answer.document["planning"] == "stopped"
        assert answer.document["daemon"] == "ok"
        [reason] = answer.document["reasons"]
        assert reason.startswith("the sensor failed 2 times since")
        assert "wrong_database: a table of Heimdall is missing" in reason
        assert finding("planning").status == FAILURE
        assert "feature_vanished_partitions" in finding("planning").message
        assert latest_check(dagster) is False
        page = client.get("/")
        assert "Planning is stopped." in page.text
        assert "feature_vanished_partitions" in page.text
    assert len(requests_of(tick(dagster))) == 1
    assert health(client).document == {"status": "ok", "database": "ok", "daemon": "ok", "planning": "on"}
    assert finding("planning").status == OK
    assert "Planning is stopped." not in client.get("/").text
    schedule_tick(dagster)
    assert latest_check(dagster) is True


def test_an_error_that_nobody_foresaw_fails_the_tick_and_is_named(
    dagster: Dagster, factory: SessionFactory, engine: Engine
) -> None:
    factory.add()
    run(engine, "ALTER TABLE heimdall.feature_states ADD CHECK (recording_session_id IS NULL)")
    for _ in range(2):
        with pytest.raises(DatabaseError, match="violates check constraint"):
            tick(dagster)
    with pytest.raises(DatabaseError, match="violates check constraint"):
        schedule_tick(dagster)
    with transaction(engine) as connection:
        found = {each.task: each for each in stoppages.current(connection)}
    assert {task: each.failures for task, each in found.items()} == {"sensor": 2, "schedule": 1}
    assert found["sensor"].reason == "database_error"
    assert not found["sensor"].is_lasting


def test_a_report_that_fails_takes_no_plan_back_and_is_a_warning(
    dagster: Dagster, factory: SessionFactory, engine: Engine, settings: Settings, client: Client
) -> None:
    extract_session(engine, factory.add(), settings)
    factory.add()
    with without(engine, "feature_coverage_reports"):
        run(engine, "UPDATE heimdall.feature_attempts SET finished_at = finished_at - interval '2 minutes'")
        answer = tick(dagster)
        assert len(requests_of(answer)) == 1
        found = health(client)
        assert found.status == 200
        assert "the reports failed once since" in found.document["warnings"][0]
        assert finding("planning").status == WARNING
    again = tick(dagster, answer.cursor)
    assert not again.asset_events  # a minute after the one that failed
    assert "warnings" not in health(client).document


def test_a_report_of_the_schedule_that_fails_takes_no_plan_back(
    dagster: Dagster, factory: SessionFactory, engine: Engine
) -> None:
    factory.add()
    with without(engine, "feature_coverage_reports"):
        assert len(schedule_tick(dagster)) == 1
    with transaction(engine) as connection:
        [found] = stoppages.current(connection)
    assert (found.task, found.stops_planning) == ("reports", False)


def test_a_sensor_that_somebody_stopped_is_a_warning_while_dagsters_daemon_is_alive(
    dagster: Dagster, client: Client
) -> None:
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("heimdall_assets"), "__repository__")
    for name in (PLANNERS[0], "some_other_sensor"):
        origin = RemoteInstigatorOrigin(repository, name)
        state = InstigatorState(
            origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED, SensorInstigatorData(min_interval=10)
        )
        dagster.instance.add_instigator_state(state)
    assert health(client).status == 503
    dagster.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "one", []))
    answer = health(client)
    assert answer.status == 200
    assert answer.document["warnings"] == [f"{PLANNERS[0]} is stopped in Dagster"]
    assert answer.document["daemon"] == "silent"


def test_health_names_the_row_that_a_session_fails_for(
    dagster: Dagster, factory: SessionFactory, engine: Engine, settings: Settings, client: Client
) -> None:
    tick(dagster)
    session_id = factory.add()
    run(engine, f"UPDATE heimdall.recording_sessions SET session_end = 'infinity' WHERE id = '{session_id}'")
    outcome = extract_session(engine, session_id, settings)
    assert (outcome.has_features, outcome.reason) == (False, "bad_row")
    answer = health(client)
    assert answer.status == 200
    [warning] = answer.document["warnings"]
    assert warning.startswith(f"1 session fails for a value that cannot be worked with; session {session_id}: ")
    assert "recording_sessions.session_end = infinity" in warning
    assert "recording_sessions.session_end = infinity" in finding("rows").message
    assert finding("rows").status == WARNING
