"""The sensor's tick on a real instance: what it launches, what it remembers, and when it skips."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetMaterialization,
    DagsterRunStatus,
    RunRequest,
    SensorResult,
    SkipReason,
    build_sensor_context,
)

from heimdall_assets.db import pauses
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import planner_lock
from heimdall_assets.defs.planner import Cursor
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.sensors import unfeatured_sessions_sensor
from heimdall_assets.extraction import extract_session
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.conftest import drop_database, make_database
from heimdall_assets_tests.factory import GOOD, MISSING

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

START = "dagster/asset_partition_range_start"
END = "dagster/asset_partition_range_end"


def tick(dagster: Dagster, cursor: str | None = None) -> SensorResult:
    """One evaluation that gets as far as the database."""
    with build_sensor_context(instance=dagster.instance, cursor=cursor, resources={"heimdall": Heimdall()}) as context:
        answer = unfeatured_sessions_sensor(context)
    assert isinstance(answer, SensorResult), answer
    return answer


def skipped(dagster: Dagster, cursor: str | None = None) -> str:
    """Reason of an evaluation that does not."""
    with build_sensor_context(instance=dagster.instance, cursor=cursor, resources={"heimdall": Heimdall()}) as context:
        answer = unfeatured_sessions_sensor(context)
    assert isinstance(answer, SkipReason), answer
    return str(answer.skip_message)


def requests_of(result: SensorResult) -> list[RunRequest]:
    return list(result.run_requests or [])


def reason_of(result: SensorResult) -> str:
    """Why a tick launches nothing."""
    assert not result.run_requests
    assert result.skip_reason is not None
    return str(result.skip_reason.skip_message)


def launch(dagster: Dagster, request: RunRequest) -> bool:
    """Run what was asked for, in this process; True if it succeeded."""
    assert request.job_name is not None
    return dagster.run(request.job_name, tags=request.tags, run_config=request.run_config).success


def set_limits(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    """Change settings of this process."""
    for name, value in limits.items():
        monkeypatch.setenv(f"HEIMDALL_{name.upper()}", str(value))
    current_settings.cache_clear()


def test_new_sessions_become_runs_over_contiguous_ranges_in_the_order_of_registration(
    dagster: Dagster, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, batch_size=3)
    ids = factory.add_many(7)
    requests = requests_of(tick(dagster))
    registered = dagster.instance.get_dynamic_partitions("recording_sessions")
    assert registered == [str(key) for key in reversed(ids)]
    position = {key: index for index, key in enumerate(registered)}
    spans = [(position[request.tags[START]], position[request.tags[END]]) for request in requests]
    assert spans == [(0, 2), (3, 5), (6, 6)]
    for request in requests:
        assert request.job_name == "extract_features"
        assert request.run_key == request.tags["heimdall/batch"]
        assert request.tags["heimdall/origin"] == "sensor"
        assert request.tags["dagster/priority"] == "10"
    assert len({request.run_key for request in requests}) == 3


def test_the_runs_that_are_asked_for_do_the_work_and_the_next_tick_has_nothing_to_plan(
    dagster: Dagster, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, batch_size=2)
    ids = factory.add_many(4)
    first = tick(dagster)
    assert reason_of(tick(dagster, first.cursor)) == "nothing to plan; 2 batches in flight"
    assert [launch(dagster, request) for request in requests_of(first)] == [True, True]
    assert {factory.state(key) for key in ids} == {"done"}
    assert dagster.colours([str(key) for key in ids]) == ["MATERIALIZED"] * 4
    assert reason_of(tick(dagster, first.cursor)) == "nothing to plan; 0 batches in flight"


def test_with_many_pending_a_fifth_of_the_slots_is_the_oldest_ones(
    dagster: Dagster, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, batch_size=5, max_batches=2)
    ids = [str(key) for key in factory.add_many(30)]
    requests = requests_of(tick(dagster))
    assert dagster.instance.get_dynamic_partitions("recording_sessions") == [*ids[:21:-1], *ids[:2]]
    oldest = requests[-1]
    assert (oldest.tags[START], oldest.tags[END]) == (ids[24], ids[1])  # three of the newest, then two
    assert [(each.tags["heimdall/lane"], each.tags["heimdall/slot"]) for each in requests] == [
        ("backlog", "shared"),
        ("backlog", "shared"),
    ]


def test_sessions_that_were_completed_just_now_go_by_a_slot_of_their_own(
    dagster: Dagster, factory: SessionFactory
) -> None:
    factory.add()
    fresh = factory.add(updated_at=datetime.now(UTC))
    first, other = requests_of(tick(dagster))
    assert (first.tags["heimdall/lane"], first.tags[START], first.tags[END]) == ("fresh", str(fresh), str(fresh))
    assert "heimdall/slot" not in first.tags
    assert (other.tags["heimdall/lane"], other.tags["heimdall/slot"]) == ("backlog", "shared")


def test_a_failed_session_is_retried_in_a_list_and_turns_green_when_its_file_has_come(
    dagster: Dagster, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BASE", "MAX"):
        monkeypatch.setenv(f"HEIMDALL_RETRY_{name}_SECONDS", "1000")
    current_settings.cache_clear()
    late, never = factory.add(("late.npy",)), factory.add((MISSING,), minutes=5)
    keys = [str(late), str(never)]
    (first,) = requests_of(tick(dagster))
    assert not launch(dagster, first)
    assert dagster.colours(keys) == ["FAILED", "FAILED"]
    assert reason_of(tick(dagster)) == "nothing to plan; 0 batches in flight"  # their time has not come

    (factory.root / "late.npy").write_bytes((factory.root / GOOD).read_bytes())
    factory.rows("UPDATE heimdall.feature_states SET next_attempt_at = now() RETURNING 1")
    (retry,) = requests_of(tick(dagster))
    assert retry.job_name == "extract_sessions"
    listed = retry.run_config["ops"]["extract_listed_sessions"]["config"]["session_ids"]
    assert sorted(listed) == sorted(keys)
    assert (retry.tags["dagster/priority"], retry.tags["heimdall/lane"]) == ("-10", "retry")
    assert not launch(dagster, retry)
    assert dagster.colours(keys) == ["MATERIALIZED", "FAILED"]
    assert (factory.state(late), factory.state(never)) == ("done", "failed")


def test_sessions_that_a_killed_run_left_are_planned_again(
    dagster: Dagster, engine: Engine, factory: SessionFactory
) -> None:
    ids = factory.add_many(3)
    (first,) = requests_of(tick(dagster))
    # The run did one session of three; then its process and its code server died.
    run = dagster.add_run(DagsterRunStatus.STARTED, tags=first.tags)
    extract_session(engine, ids[2], current_settings(), run_id=run.run_id)
    suspecting = tick(dagster)
    assert reason_of(suspecting) == "nothing to plan; 1 batches in flight"
    assert Cursor.parse(suspecting.cursor).lockless_runs == (run.run_id,)
    (again,) = requests_of(tick(dagster, suspecting.cursor))
    assert dagster.status_of(run) == DagsterRunStatus.FAILURE
    listed = again.run_config["ops"]["extract_listed_sessions"]["config"]["session_ids"]
    assert sorted(listed) == sorted(map(str, ids[:2]))


def test_a_run_that_never_came_gives_its_sessions_back(dagster: Dagster, factory: SessionFactory) -> None:
    factory.add_many(2)
    assert len(requests_of(tick(dagster))) == 1
    factory.rows("UPDATE heimdall.feature_states SET reserved_at = now() - interval '10 minutes' RETURNING 1")
    (again,) = requests_of(tick(dagster))
    assert again.job_name == "extract_sessions"


@pytest.mark.parametrize("cursor", ["garbage", '{"coverage_at": "2025-06-01T12:00:00"}'])
def test_a_tick_survives_any_cursor_and_writes_a_good_one(
    dagster: Dagster, factory: SessionFactory, cursor: str
) -> None:
    factory.add()
    result = tick(dagster, cursor)
    assert len(requests_of(result)) == 1
    values = json.loads(result.cursor or "")
    assert values["discovered_until"]
    assert values["lockless_runs"] == []


def test_coverage_is_reported_once_when_the_work_is_done_and_not_again_without_a_change(
    dagster: Dagster, factory: SessionFactory
) -> None:
    idle = tick(dagster)
    assert not idle.asset_events
    factory.add_many(2)
    first = tick(dagster, idle.cursor)
    assert not first.asset_events
    for request in requests_of(first):
        launch(dagster, request)
    second = tick(dagster, first.cursor)
    event, *others = second.asset_events
    assert isinstance(event, AssetMaterialization)
    assert event.asset_key.to_user_string() == "feature_coverage"
    reports = [other.asset_key.to_user_string() for other in others if isinstance(other, AssetMaterialization)]
    assert reports == ["receiver_health", "training_samples"]
    assert [other.passed for other in others if isinstance(other, AssetCheckEvaluation)] == [True] * 7
    assert event.metadata["recordings_with_features"].value == 2
    assert event.metadata["coverage_percent"].value == 100.0
    assert not tick(dagster, second.cursor).asset_events


def test_coverage_is_reported_at_most_once_a_minute(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    extract_session(engine, factory.add(), settings)
    first = tick(dagster)
    assert len(first.asset_events) == 10
    extract_session(engine, factory.add(minutes=5), settings)
    assert not tick(dagster, first.cursor).asset_events
    values = json.loads(first.cursor or "")
    values["coverage_at"] = "2025-06-01T12:00:00+00:00"
    dagster.add_run(DagsterRunStatus.QUEUED)  # while work is under way: coverage alone, without its picture
    (brief,) = tick(dagster, json.dumps(values)).asset_events
    assert isinstance(brief, AssetMaterialization)
    assert brief.metadata["recordings_with_features"].value == 2
    assert "over_time" not in brief.metadata


def test_beside_another_planner_the_tick_skips_and_looks_again_from_where_it_was(
    dagster: Dagster, factory: SessionFactory, engine: Engine
) -> None:
    before = tick(dagster)
    factory.add()
    with planner_lock(engine) as connection:
        assert connection is not None
        busy = tick(dagster, before.cursor)
    assert reason_of(busy) == "another planner is at work"
    assert Cursor.parse(busy.cursor).discovered_until == Cursor.parse(before.cursor).discovered_until
    assert len(requests_of(tick(dagster, busy.cursor))) == 1


def test_during_a_pause_the_tick_says_who_paused_and_why_and_remembers_what_it_discovered(
    dagster: Dagster, factory: SessionFactory, engine: Engine
) -> None:
    factory.add()
    with transaction(engine) as connection:
        held, _ = pauses.pause(connection, by="cli ada", reason="new disks")
    paused = tick(dagster)
    assert reason_of(paused) == f"{held.in_words}; 0 batches in flight"
    assert Cursor.parse(paused.cursor).discovered_until is not None
    with transaction(engine) as connection:
        pauses.resume(connection, by="cli ada")
    assert len(requests_of(tick(dagster, paused.cursor))) == 1


def test_a_database_that_is_away_is_a_reason_to_skip(dagster: Dagster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    current_settings.cache_clear()
    assert skipped(dagster).startswith("database_unavailable: PostgreSQL is not available: ")


def test_a_database_that_was_never_upgraded_is_a_reason_to_skip(
    dagster: Dagster, server_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database(server_url, "template1")
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", url.render_as_string(hide_password=False))
    current_settings.cache_clear()
    said = f"wrong_database: the database {url.database} was never upgraded: run `heimdall db upgrade`"
    assert skipped(dagster) == said
    drop_database(url)
