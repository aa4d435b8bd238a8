"""One tick of the planner on real databases: what is planned, reserved, registered, taken back."""

from __future__ import annotations

import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from dagster import DagsterRunStatus

from heimdall_assets.db import attempts, coverage, discovery, pauses, requests, states, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import planner_lock, session_lock
from heimdall_assets.db.progress import progress
from heimdall_assets.defs.planner import Cursor, Plan, plan_tick, run_request
from heimdall_assets.errors import TruncatedRecording
from heimdall_assets.extraction import extract_session
from heimdall_assets.planning import Batch
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.factory import GOOD, MISSING, TRUNCATED

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

START = "dagster/asset_partition_range_start"
END = "dagster/asset_partition_range_end"


def tick(
    dagster: Dagster, engine: Engine, settings: Settings, *, since: datetime | None = None, is_schedule: bool = False
) -> Plan:
    """One tick."""
    return plan_tick(dagster.instance, engine, settings, since=since, is_schedule=is_schedule)


def shapes(plan: Plan) -> list[tuple[str, bool, int]]:
    """(lane, is a range, number of sessions) of every batch."""
    return [(batch.lane, batch.is_contiguous, len(batch.session_ids)) for batch in plan.batches]


def reserved(factory: SessionFactory) -> dict[uuid.UUID, str]:
    """Session -> the batch that it is planned in."""
    query = "SELECT recording_session_id, reserved_by FROM heimdall.feature_states WHERE reserved_by IS NOT NULL"
    return {row[0]: row[1] for row in factory.rows(query)}


def make_due(factory: SessionFactory) -> None:
    """The next attempt of every failed session is now."""
    factory.rows("UPDATE heimdall.feature_states SET next_attempt_at = now() WHERE state = 'failed' RETURNING 1")


def age(factory: SessionFactory, seconds: int) -> None:
    """Reservations were made so long ago."""
    factory.rows(
        "UPDATE heimdall.feature_states SET reserved_at = now() - make_interval(secs => :age) "
        "WHERE reserved_by IS NOT NULL RETURNING 1",
        age=seconds,
    )


def limited(settings: Settings, **limits: int) -> Settings:
    return settings.model_copy(update=limits)


# --- planning what is new


def test_new_sessions_are_registered_and_reserved_in_the_order_in_which_they_run(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(5)
    plan = tick(dagster, engine, limited(settings, batch_size=2))
    assert plan.discovered == 5
    assert shapes(plan) == [("backlog", True, 2), ("backlog", True, 2), ("backlog", True, 1)]
    planned = [key for batch in plan.batches for key in batch.session_ids]
    assert planned == ids[::-1]  # the newest first
    assert dagster.instance.get_dynamic_partitions("recording_sessions") == list(map(str, planned))
    assert reserved(factory) == {key: batch.batch_id for batch in plan.batches for key in batch.session_ids}
    assert plan.num_sessions == 5


def test_a_second_tick_plans_nothing_again_and_counts_what_is_in_flight(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    factory.add_many(5)
    small = limited(settings, batch_size=2)
    first = tick(dagster, engine, small)
    second = tick(dagster, engine, small)
    assert (second.batches, second.discovered, second.in_flight) == ([], 0, len(first.batches))


def test_only_completed_sessions_with_iq_and_without_features_are_planned(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    done, waiting = factory.add(), factory.add()
    extract_session(engine, done, settings)
    factory.add(status="recording")
    factory.add((None,))
    broken = factory.add((TRUNCATED,))
    extract_session(engine, broken, settings)
    (batch,) = tick(dagster, engine, settings).batches
    assert batch.session_ids == (waiting,)


def test_the_oldest_get_their_share_and_no_more_is_planned_than_there_are_slots(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(40)
    plan = tick(dagster, engine, limited(settings, batch_size=5, max_batches=4))
    assert shapes(plan) == [("backlog", True, 5)] * 4
    planned = [key for batch in plan.batches for key in batch.session_ids]
    assert planned == [*ids[:23:-1], *ids[:4]]
    assert tick(dagster, engine, limited(settings, batch_size=5, max_batches=4)).batches == []  # all slots are taken


def test_a_backlog_ends_although_new_sessions_keep_coming(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    old = set(factory.add_many(6))
    small = limited(settings, batch_size=5, max_batches=1)
    for number in range(1, 7):
        factory.add_many(10, minutes=1000 * number)
        plan = tick(dagster, engine, small)
        old -= {key for batch in plan.batches for key in batch.session_ids}
        for batch in plan.batches:
            dagster.add_run(DagsterRunStatus.SUCCESS, tags={"heimdall/batch": batch.batch_id})
        query = "UPDATE heimdall.feature_states SET state = 'done' WHERE reserved_by IS NOT NULL RETURNING 1"
        assert len(factory.rows(query)) == 5
    assert old == set()


def test_what_was_completed_just_now_waits_for_nothing_that_is_in_flight(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    small = limited(settings, batch_size=2, max_batches=2)
    old = factory.add_many(9)
    assert shapes(tick(dagster, engine, small)) == [("backlog", True, 2)] * 2
    fresh = [factory.add(updated_at=datetime.now(UTC)) for _ in range(3)]
    first = tick(dagster, engine, small)  # nothing is free, and no older one may go
    assert shapes(first) == [("fresh", True, 2)]
    assert tick(dagster, engine, small).batches == []  # it is in flight
    dagster.add_run(DagsterRunStatus.SUCCESS, tags={"heimdall/batch": first.batches[0].batch_id})
    factory.rows(
        "UPDATE heimdall.feature_states SET state = 'done' WHERE recording_session_id = ANY (:ids) RETURNING 1",
        ids=list(first.batches[0].session_ids),
    )
    second = tick(dagster, engine, small)
    assert shapes(second) == [("fresh", True, 1)]
    planned = {key for plan in (first, second) for batch in plan.batches for key in batch.session_ids}
    assert planned == set(fresh)
    assert set(reserved(factory)) < {*old, *fresh}


def test_a_small_batch_is_held_back_while_another_waits_in_the_queue(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    factory.add_many(2)
    (first,) = tick(dagster, engine, limited(settings, batch_size=2)).batches
    run = dagster.add_run(DagsterRunStatus.QUEUED, tags={"heimdall/batch": first.batch_id})
    factory.add_many(3, minutes=10)
    assert shapes(tick(dagster, engine, limited(settings, batch_size=2))) == [("backlog", True, 2)]
    assert tick(dagster, engine, limited(settings, batch_size=2)).batches == []
    for started in (
        run,
        *[
            dagster.add_run(DagsterRunStatus.STARTED, tags={"heimdall/batch": key})
            for key in set(reserved(factory).values()) - {first.batch_id}
        ],
    ):
        dagster.instance.report_run_failed(started)
    assert shapes(tick(dagster, engine, limited(settings, batch_size=2)))[0] == ("backlog", True, 1)


def test_since_bounds_the_search_of_a_large_database_only(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory.add_many(2)
    monkeypatch.setattr("heimdall_assets.db.suspects.SMALL_TABLE", 0)
    assert tick(dagster, engine, settings, since=datetime.now(UTC)).discovered == 0
    monkeypatch.undo()
    assert tick(dagster, engine, settings, since=datetime.now(UTC)).discovered == 2


# --- retries


def test_retries_go_as_lists_when_their_time_has_come_and_take_no_slot_from_healthy_sessions(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    patient = limited(settings, retry_base_seconds=1000, retry_max_seconds=1000, batch_size=2, max_batches=2)
    failed = factory.add_many(3, (MISSING,))
    for key in failed:
        extract_session(engine, key, patient)
    assert tick(dagster, engine, patient).batches == []
    make_due(factory)
    factory.add_many(4, minutes=100)
    plan = tick(dagster, engine, patient)
    assert Counter(shapes(plan)) == Counter([*[("backlog", True, 2)] * 2, ("retry", False, 2), ("retry", False, 1)])
    retried = [key for batch in plan.batches if batch.lane == "retry" for key in batch.session_ids]
    assert sorted(retried) == sorted(failed)
    assert tick(dagster, engine, patient).batches == []


def test_200_sessions_that_are_broken_for_good_delay_50_healthy_ones_by_no_tick(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    small = limited(settings, batch_size=50, max_batches=1)
    healthy = factory.add_many(50)
    broken = factory.add_many(200, (TRUNCATED,), minutes=1000)  # the newest in the list
    with transaction(engine) as connection:
        discovery.discover(connection)
        rule = states.RetryRule(5, 1.0, 1.0)
        for key in broken:
            attempts.begin_attempt(connection, key, run_id="run", feature_version=1)
            assert states.set_failed(connection, key, TruncatedRecording("cut"), rule) == "quarantined"
    (batch,) = tick(dagster, engine, small).batches
    assert set(batch.session_ids) == set(healthy)
    dagster.add_run(DagsterRunStatus.SUCCESS, tags={"heimdall/batch": batch.batch_id})
    factory.rows("UPDATE heimdall.feature_states SET state = 'done' WHERE reserved_by IS NOT NULL RETURNING 1")
    with transaction(engine) as connection:
        work.release(connection, [batch.batch_id])
    assert tick(dagster, engine, small, is_schedule=True).batches == []


def test_a_partial_session_is_retried_beside_healthy_ones_when_its_time_has_come(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    patient = limited(settings, retry_base_seconds=1000, retry_max_seconds=1000, batch_size=2, max_batches=1)
    partial = factory.add((GOOD, MISSING))
    extract_session(engine, partial, patient)
    factory.add_many(2, minutes=100)
    assert shapes(tick(dagster, engine, patient)) == [("backlog", True, 2)]
    factory.rows(
        "UPDATE heimdall.feature_states SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL RETURNING 1"
    )
    (batch,) = tick(dagster, engine, patient).batches
    assert (batch.lane, batch.session_ids) == ("retry", (partial,))


def test_nothing_is_planned_within_the_grace(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    old = factory.add()
    factory.add(minutes=1, updated_at=datetime.now(UTC))
    (batch,) = tick(dagster, engine, settings.model_copy(update={"grace_seconds": 3600.0})).batches
    assert batch.session_ids == (old,)


def test_a_worker_that_died_leaves_a_session_that_is_planned_again(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    tick(dagster, engine, settings)
    with transaction(engine) as connection:
        attempts.begin_attempt(connection, session_id, run_id="dead", feature_version=1)
    with session_lock(engine, session_id, timeout_seconds=5):
        assert tick(dagster, engine, settings).recovered == 0  # somebody works on it
    plan = tick(dagster, engine, settings)
    assert plan.recovered == 1
    assert shapes(plan) == [("backlog", False, 1)]  # a list: Dagster knows the key


# --- taking back


@pytest.mark.parametrize(
    ("status", "is_taken_back"),
    [
        (DagsterRunStatus.QUEUED, False),
        (DagsterRunStatus.STARTED, False),
        (DagsterRunStatus.SUCCESS, True),
        (DagsterRunStatus.FAILURE, True),
        (DagsterRunStatus.CANCELED, True),
    ],
)
def test_sessions_of_a_run_that_ended_without_them_are_planned_again_as_a_list(
    dagster: Dagster,
    engine: Engine,
    factory: SessionFactory,
    settings: Settings,
    status: DagsterRunStatus,
    *,
    is_taken_back: bool,
) -> None:
    factory.add_many(2)
    (first,) = tick(dagster, engine, settings).batches
    dagster.add_run(status, tags={"heimdall/batch": first.batch_id})
    plan = tick(dagster, engine, settings)
    assert shapes(plan) == ([("backlog", False, 2)] if is_taken_back else [])
    assert all(batch.batch_id != first.batch_id for batch in plan.batches)  # a run key seen before is suppressed


def test_a_batch_whose_run_never_came_is_taken_back_after_a_grace(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    factory.add_many(2)
    tick(dagster, engine, settings)
    age(factory, 100)
    assert tick(dagster, engine, settings).batches == []
    age(factory, 130)
    assert shapes(tick(dagster, engine, settings)) == [("backlog", False, 2)]


def test_a_reservation_that_is_too_old_is_taken_back_unless_its_run_is_under_way(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    factory.add_many(2)
    (first,) = tick(dagster, engine, settings).batches
    run = dagster.add_run(DagsterRunStatus.QUEUED, tags={"heimdall/batch": first.batch_id})
    age(factory, int(settings.reservation_seconds) + 1)
    assert len(tick(dagster, engine, settings).batches) == 1
    assert dagster.status_of(run) == DagsterRunStatus.QUEUED

    (second,) = {*reserved(factory).values()}
    dagster.add_run(DagsterRunStatus.STARTED, tags={"heimdall/batch": second})
    age(factory, int(settings.reservation_seconds) + 1)
    assert tick(dagster, engine, settings).batches == []


def test_a_session_that_was_deleted_while_it_waited_is_planned_once_and_no_more(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    (first,) = tick(dagster, engine, settings).batches
    factory.rows("DELETE FROM heimdall.recording_sessions RETURNING 1")
    assert not dagster.run_range([str(session_id)]).success
    dagster.add_run(DagsterRunStatus.FAILURE, tags={"heimdall/batch": first.batch_id})
    assert tick(dagster, engine, settings).batches == []
    assert factory.scalar("SELECT count(*) FROM heimdall.feature_states") == 0


def test_a_session_that_is_taken_up_again_is_planned_when_it_is_completed_again(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    (first,) = tick(dagster, engine, settings).batches
    factory.rows("UPDATE heimdall.recording_sessions SET status = 'in_progress' RETURNING 1")
    assert extract_session(engine, session_id, settings).reason == "not_completed"
    dagster.add_run(DagsterRunStatus.FAILURE, tags={"heimdall/batch": first.batch_id})
    assert tick(dagster, engine, settings).batches == []
    factory.rows("UPDATE heimdall.recording_sessions SET status = 'completed' RETURNING 1")
    (again,) = tick(dagster, engine, settings).batches
    assert again.session_ids == (session_id,)


# --- keys that Dagster knows


def test_a_range_never_spans_keys_that_were_registered_before(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    """As after a planner that died between Dagster's database and its own, or when a person adds a key in the UI."""
    ids = factory.add_many(4)
    others = [str(uuid.uuid4()) for _ in range(3)]
    dagster.instance.add_dynamic_partitions("recording_sessions", [str(ids[3]), *others])
    plan = tick(dagster, engine, settings)
    assert [key for batch in plan.batches for key in batch.session_ids] == ids[::-1]
    assert not any(batch.is_contiguous for batch in plan.batches)
    assert set(reserved(factory)) == set(ids)


def test_the_schedule_leaves_such_keys_to_the_sensor(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(2)
    dagster.instance.add_dynamic_partitions("recording_sessions", [str(ids[1]), str(uuid.uuid4())])
    assert tick(dagster, engine, settings, is_schedule=True).batches == []
    assert reserved(factory) == {}
    assert shapes(tick(dagster, engine, settings)) == [("backlog", False, 2)]


# --- two planners


def test_beside_another_planner_nothing_is_looked_at(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    factory.add()
    with planner_lock(engine) as connection:
        assert connection is not None
        assert tick(dagster, engine, settings) == Plan(is_busy=True)
    assert len(tick(dagster, engine, settings).batches) == 1


def test_planners_at_once_plan_no_session_twice(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(60)
    small = limited(settings, batch_size=10, max_batches=2)
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda index: tick(dagster, engine, small, is_schedule=index % 2 == 1), range(8)))
    planned = Counter(key for plan in plans for batch in plan.batches for key in batch.session_ids)
    assert set(planned.values()) == {1}
    assert set(planned) <= set(ids)
    assert set(reserved(factory)) == set(planned)


# --- requests


def test_a_request_becomes_batches_of_its_own_after_fresh_work_with_its_id_as_origin(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    broken = factory.add_many(3, (TRUNCATED,))
    for key in broken:
        extract_session(engine, key, settings)
    factory.add(minutes=50)
    with transaction(engine) as connection:
        request_id = requests.submit(connection, requests.Selection(failed=True, batch_size=2), requested_by="a test")
    with caplog.at_level("INFO", logger="heimdall_assets"):
        plan = tick(dagster, engine, settings)
    assert shapes(plan) == [("backlog", True, 1), ("request", True, 2), ("request", True, 1)]
    requested = plan.batches[1]
    assert requested.request_id == request_id
    request = run_request(requested, "sensor")
    assert request.tags["heimdall/origin"] == str(request_id)
    assert request.tags["dagster/priority"] == "-10"
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if line.startswith("Backfill batch")] == [
        "Backfill batch 1: 2 tasks queued",
        "Backfill batch 2: 1 tasks queued",
    ]
    for key in broken:
        extract_session(engine, key, settings)
    with caplog.at_level("INFO", logger="heimdall_assets"):
        tick(dagster, engine, settings)
    assert f"Backfill complete: 3 recordings found, 3 tasks queued (request {request_id})" in [
        record.getMessage() for record in caplog.records
    ]


def test_a_cancelled_request_gives_back_what_waits_in_the_queue_and_waits_for_what_runs(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    broken = factory.add_many(3, (TRUNCATED,))
    for key in broken:
        extract_session(engine, key, settings)
    with transaction(engine) as connection:
        request_id = requests.submit(connection, requests.Selection(failed=True, batch_size=1), requested_by="a test")
    batches = tick(dagster, engine, settings).batches
    states_of_runs = (DagsterRunStatus.QUEUED, DagsterRunStatus.STARTED, DagsterRunStatus.QUEUED)
    runs = [
        dagster.add_run(status, tags=run_request(batch, "sensor").tags)
        for batch, status in zip(batches, states_of_runs, strict=True)
    ]
    with transaction(engine) as connection:
        assert requests.cancel(connection, request_id).status == "cancelling"
    with caplog.at_level("INFO", logger="heimdall_assets"):
        assert shapes(tick(dagster, engine, settings)) == []
        assert set(reserved(factory)) == set(batches[1].session_ids)
        extract_session(engine, batches[1].session_ids[0], settings)
        tick(dagster, engine, settings)
    assert [dagster.status_of(run) for run in runs] == [
        DagsterRunStatus.CANCELED,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.CANCELED,
    ]
    with transaction(engine) as connection:
        end = progress(connection, request_id)
    assert (end.status, end.total_found, end.failed, end.cancelled, end.remaining) == ("cancelled", 3, 1, 2, 0)
    assert f"Backfill cancelled: 3 recordings found, 0 done, 1 failed (request {request_id})" in [
        record.getMessage() for record in caplog.records
    ]


# --- a pause


def test_a_pause_takes_back_what_is_queued_plans_nothing_new_and_lets_what_runs_end(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(4)
    queued, running = tick(dagster, engine, limited(settings, batch_size=2)).batches
    states_of_runs = (DagsterRunStatus.QUEUED, DagsterRunStatus.STARTED)
    runs = [
        dagster.add_run(status, tags=run_request(batch, "sensor").tags)
        for batch, status in zip((queued, running), states_of_runs, strict=True)
    ]
    with transaction(engine) as connection:
        held, _ = pauses.pause(connection, by="a test", reason="new disks")
        request_id = requests.submit(connection, requests.Selection(pending=True), requested_by="a test")
    late = factory.add(minutes=50)
    for is_schedule in (False, True):
        plan = tick(dagster, engine, settings, is_schedule=is_schedule)
        assert (shapes(plan), plan.pause, plan.in_flight) == ([], held, 1)
    assert set(reserved(factory)) == set(running.session_ids)
    assert [dagster.status_of(run) for run in runs] == [DagsterRunStatus.CANCELED, DagsterRunStatus.STARTED]
    assert factory.state(late) == "pending"  # it was discovered
    with transaction(engine) as connection:
        assert progress(connection, request_id).status == "queued"
        pauses.resume(connection, by="a test")
    plan = tick(dagster, engine, settings)
    assert plan.pause is None
    planned = {key for batch in plan.batches for key in batch.session_ids}
    assert planned == {late, *ids} - set(running.session_ids)
    with transaction(engine) as connection:
        assert progress(connection, request_id).total_found == 5


# --- run requests


def batch_of(lane: Any, *, count: int = 3, **more: Any) -> Batch:
    return Batch(f"{lane}-1", tuple(uuid.uuid4() for _ in range(count)), lane=lane, **{"is_contiguous": True, **more})


def test_a_range_is_a_run_of_the_asset_job_between_its_ends() -> None:
    batch = batch_of("fresh")
    request = run_request(batch, "sensor")
    assert (request.job_name, request.run_key, request.run_config) == ("extract_features", "fresh-1", {})
    assert (request.tags[START], request.tags[END]) == (str(batch.session_ids[0]), str(batch.session_ids[2]))
    assert request.tags["heimdall/batch"] == "fresh-1"
    assert request.tags["heimdall/origin"] == "sensor"


def test_a_list_is_a_run_of_the_list_job_with_its_ids() -> None:
    batch = batch_of("retry", is_contiguous=False)
    request = run_request(batch, "sensor")
    assert request.job_name == "extract_sessions"
    config = request.run_config["ops"]["extract_listed_sessions"]["config"]
    assert config == {"session_ids": [str(key) for key in batch.session_ids]}
    assert START not in request.tags


@pytest.mark.parametrize(
    ("lane", "planner", "request_id", "priority", "is_shared"),
    [
        ("fresh", "sensor", None, "10", False),
        ("backlog", "sensor", None, "10", True),
        ("fresh", "schedule", None, "0", False),
        ("backlog", "schedule", None, "0", True),
        ("retry", "sensor", None, "-10", True),
        ("request", "sensor", uuid.UUID(int=7), "-10", True),
    ],
)
def test_priorities_and_slots_keep_fresh_work_first(
    lane: str, planner: str, request_id: uuid.UUID | None, priority: str, *, is_shared: bool
) -> None:
    tags = run_request(batch_of(lane, request_id=request_id), planner).tags
    assert tags["dagster/priority"] == priority
    assert (tags.get("heimdall/slot") == "shared") is is_shared
    assert tags["heimdall/origin"] == (planner if request_id is None else str(request_id))


@pytest.mark.parametrize("is_contiguous", [True, False])
def test_stale_work_says_so_in_its_config(*, is_contiguous: bool) -> None:
    request = run_request(batch_of("request", stale=True, is_contiguous=is_contiguous), "sensor")
    ((op, values),) = request.run_config["ops"].items()
    assert op == ("measurement_features" if is_contiguous else "extract_listed_sessions")
    assert values["config"]["stale"] is True


# --- the cursor

MOMENT = datetime(2025, 6, 1, 12, tzinfo=UTC)


def test_a_cursor_survives_its_text() -> None:
    cursor = Cursor(MOMENT, None, MOMENT, ("run-1", "run-2"))
    assert Cursor.parse(cursor.text()) == cursor


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "garbage",
        "[]",
        "5",
        "null",
        '"text"',
        '{"discovered_until": "yesterday"}',
        '{"discovered_until": 5}',
        '{"discovered_until": "2025-06-01T12:00:00"}',
        '{"coverage_at": "0001-01-01T00:00:00+00:00"}',
        '{"lockless_runs": 5}',
        '{"lockless_runs": null}',
        "{" * 5000,
    ],
)
def test_a_cursor_that_cannot_be_read_starts_anew(text: str | None) -> None:
    assert Cursor.parse(text) == Cursor()


def test_a_cursor_of_an_older_release_keeps_what_is_known() -> None:
    assert Cursor.parse(f'{{"discovered_until": "{MOMENT.isoformat()}", "more": 1}}') == Cursor(MOMENT)


def test_good_sessions_of_a_planned_batch_are_done_after_its_run(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(3, (GOOD,))
    (batch,) = tick(dagster, engine, settings).batches
    request = run_request(batch, "sensor")
    assert request.job_name is not None
    assert dagster.run(request.job_name, tags=request.tags, run_config=request.run_config).success
    assert {factory.state(key) for key in ids} == {"done"}
    assert reserved(factory) == {}
    assert tick(dagster, engine, settings).batches == []


# --- outages, and a new version


def run_planned(dagster: Dagster, engine: Engine, settings: Settings) -> int:
    """Plan what waits, and run it in this process; the number of sessions."""
    planned = tick(dagster, engine, settings)
    for batch in planned.batches:
        request = run_request(batch, "sensor")
        assert request.job_name is not None
        dagster.run(request.job_name, tags=request.tags, run_config=request.run_config)
    return planned.num_sessions


def test_a_store_that_is_away_in_the_middle_of_a_backfill_costs_no_session(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(60, (GOOD,))
    two_batches = limited(settings, batch_size=10, max_batches=2)
    assert run_planned(dagster, engine, two_batches) == 20
    away = factory.root.with_name("away")
    factory.root.rename(away)
    assert run_planned(dagster, engine, two_batches) == 20
    reasons = factory.rows(
        "SELECT state, reason, count(*) FROM heimdall.feature_states WHERE state <> 'done' GROUP BY 1, 2"
    )
    assert sorted(reasons, key=str) == [("failed", "store_unavailable", 20), ("pending", None, 20)]
    away.rename(factory.root)
    for _ in range(2):
        make_due(factory)
        run_planned(dagster, engine, settings)
    assert {factory.state(key) for key in ids} == {"done"}
    attempts = factory.scalar("SELECT count(*) FROM heimdall.feature_attempts")
    assert attempts == 80  # none was tried more often than the outage asked for


def test_after_a_new_version_fresh_sessions_go_first_and_a_request_brings_the_stale_ones_to_zero(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    old = factory.add_many(6, (GOOD,))
    run_planned(dagster, engine, settings)
    factory.rows(
        "UPDATE heimdall.measurement_features SET extraction_metadata = "
        "jsonb_set(extraction_metadata, '{feature_version}', '0') RETURNING 1"
    )
    factory.rows("UPDATE heimdall.feature_states SET feature_version = 0 RETURNING 1")

    def stale() -> object:
        with transaction(engine) as connection:
            return coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)["recordings_stale"]

    assert stale() == 6
    assert run_planned(dagster, engine, settings) == 0  # nobody asked for them
    with transaction(engine) as connection:
        request_id = requests.submit(connection, requests.Selection(stale=True, batch_size=4), requested_by="a test")
    fresh = factory.add_many(2, (GOOD,), minutes=500)
    plan = tick(dagster, engine, settings)
    priorities = [(batch.lane, run_request(batch, "sensor").tags["dagster/priority"]) for batch in plan.batches]
    assert priorities == [("backlog", "10"), ("request", "-10"), ("request", "-10")]
    assert set(plan.batches[0].session_ids) == set(fresh)
    for batch in plan.batches:
        request = run_request(batch, "sensor")
        assert request.job_name is not None
        assert dagster.run(request.job_name, tags=request.tags, run_config=request.run_config).success
    tick(dagster, engine, settings)
    with transaction(engine) as connection:
        end = progress(connection, request_id)
    assert (end.status, end.done, end.failed) == ("done", len(old), 0)
    assert stale() == 0


def test_two_daemons_by_mistake_ask_for_each_session_once_and_under_one_run_key(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(40)
    small = limited(settings, batch_size=10, max_batches=4)
    with ThreadPoolExecutor(2) as pool:
        plans = list(pool.map(lambda _: tick(dagster, engine, small), range(6)))
    asked = [run_request(batch, "sensor") for plan in plans for batch in plan.batches]
    assert len({request.run_key for request in asked}) == len(asked)
    planned = Counter(key for plan in plans for batch in plan.batches for key in batch.session_ids)
    assert planned == dict.fromkeys(ids, 1)
    known = dagster.instance.get_dynamic_partitions("recording_sessions")
    for request in asked:  # each range holds its own sessions and none of another's
        span = known[known.index(request.tags[START]) : known.index(request.tags[END]) + 1]
        (batch,) = [b for plan in plans for b in plan.batches if b.batch_id == request.run_key]
        assert span == [str(key) for key in batch.session_ids]
