"""The schedule's tick on a real instance: its log lines, what it plans, and what it leaves to the sensor."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, RunRequest, ScheduleEvaluationContext, SkipReason, build_schedule_context
from dagster._core.definitions.instigation_logger import get_instigation_log_records
from dagster._core.execution.build_resources import wrap_resources_for_execution
from dagster._core.log_manager import LOG_RECORD_METADATA_ATTR

from heimdall_assets.db import pauses, receivers
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import planner_lock
from heimdall_assets.defs.logs import shown_in
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.schedules import batch_feature_extraction_schedule
from heimdall_assets.extraction import extract_session
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.conftest import make_database
from heimdall_assets_tests.factory import FIRST_START, GOOD, MISSING

if TYPE_CHECKING:
    import pytest
    from sqlalchemy.engine import URL, Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

START = "dagster/asset_partition_range_start"
END = "dagster/asset_partition_range_end"


def tick(dagster: Dagster) -> list[RunRequest] | str:
    """The run requests of one tick, or why there are none."""
    with build_schedule_context(instance=dagster.instance, resources={"heimdall": Heimdall()}) as context:
        answer: Any = batch_feature_extraction_schedule(context)
    if isinstance(answer, SkipReason):
        return str(answer.skip_message)
    return list(answer)


def requests_of(dagster: Dagster) -> list[RunRequest]:
    """The run requests of a tick that has some."""
    answer = tick(dagster)
    assert isinstance(answer, list)
    return answer


def set_limits(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    """Change settings of this process."""
    for name, value in limits.items():
        monkeypatch.setenv(f"HEIMDALL_{name.upper()}", str(value))
    current_settings.cache_clear()


def shown(dagster: Dagster) -> list[str]:
    """The log of one tick as the UI shows it."""
    context = ScheduleEvaluationContext(
        instance_ref=dagster.instance.get_ref(),
        scheduled_execution_time=datetime.now(UTC),
        repository_name="__repository__",
        schedule_name=batch_feature_extraction_schedule.name,
        resources=wrap_resources_for_execution({"heimdall": Heimdall()}),
    )
    with context:
        batch_feature_extraction_schedule(context)
        log_key = context.log_key
    assert log_key is not None
    records = get_instigation_log_records(dagster.instance, log_key)
    return [record[LOG_RECORD_METADATA_ATTR]["orig_message"] for record in records]


def test_a_tick_shows_the_lines_that_operators_know_in_the_ui_and_in_the_daemons_output(
    dagster: Dagster, factory: SessionFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    factory.add_many(3)
    lines = shown(dagster)
    assert lines == [
        "Starting batch feature extraction (batch_size=50, max_batches=5)",
        "Found 3 recordings without features",
        "Queued 3 feature extraction tasks",
    ]
    printed = capsys.readouterr().err
    assert all(line in printed for line in lines)


def test_a_tick_without_work_logs_zeros(dagster: Dagster, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, batch_size=7, max_batches=2)
    assert shown(dagster) == [
        "Starting batch feature extraction (batch_size=7, max_batches=2)",
        "Found 0 recordings without features",
        "Queued 0 feature extraction tasks",
    ]


def test_what_another_thread_logs_stays_out_of_the_ticks_log() -> None:
    seen: list[str] = []
    log = logging.getLogger("a tick's")
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]  # the shortest way
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    ours = logging.getLogger("heimdall_assets.defs.planner")
    with shown_in(log):
        ours.info("mine: %d %%", 1)
        other = threading.Thread(target=ours.info, args=("another's",))
        other.start()
        other.join()
        ours.debug("too fine")
    ours.info("too late")
    assert seen == ["mine: 1 %"]


def test_run_requests_name_contiguous_ranges_in_the_order_of_registration(
    dagster: Dagster, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, batch_size=2, max_batches=5)
    factory.add_many(5)
    requests = requests_of(dagster)
    registered = dagster.instance.get_dynamic_partitions("recording_sessions")
    assert len(registered) == 5
    position = {key: index for index, key in enumerate(registered)}
    spans = [(position[request.tags[START]], position[request.tags[END]]) for request in requests]
    assert spans == [(0, 1), (2, 3), (4, 4)]
    for request in requests:
        assert request.job_name == "extract_features"
        assert request.run_key == request.tags["heimdall/batch"]
        assert request.tags["heimdall/origin"] == "schedule"
        assert request.tags["dagster/priority"] == "0"
        assert not request.run_config


def test_a_tick_plans_at_most_max_batches_and_keeps_a_share_for_the_oldest(
    dagster: Dagster, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, batch_size=5, max_batches=2)
    ids = [str(key) for key in factory.add_many(30)]
    requests_of(dagster)
    assert dagster.instance.get_dynamic_partitions("recording_sessions") == [*ids[:21:-1], *ids[:2]]


def test_a_tick_plans_nothing_where_nothing_waits_or_all_is_planned(dagster: Dagster, factory: SessionFactory) -> None:
    assert tick(dagster) == "nothing to plan"
    factory.add_many(3)
    assert len(requests_of(dagster)) == 1
    assert tick(dagster) == "nothing to plan"


def test_retries_and_keys_that_dagster_knows_are_left_to_the_sensor(
    dagster: Dagster, factory: SessionFactory, settings: Settings, engine: Engine
) -> None:
    failed, released = factory.add((MISSING,)), factory.add(minutes=5)
    extract_session(engine, failed, settings)
    factory.rows("UPDATE heimdall.feature_states SET next_attempt_at = now() RETURNING 1")
    (request,) = requests_of(dagster)
    assert (request.tags[START], request.tags[END]) == (str(released), str(released))
    factory.rows("UPDATE heimdall.feature_states SET reserved_by = NULL, reserved_at = NULL RETURNING 1")
    assert tick(dagster) == "nothing to plan"


def test_a_tick_reports_coverage(dagster: Dagster, factory: SessionFactory) -> None:
    factory.add_many(2)
    tick(dagster)
    (made,) = dagster.materializations(AssetKey("feature_coverage"))
    assert made.metadata["total_recordings"].value == 2
    assert made.metadata["recordings_pending"].value == 2


def test_a_tick_beside_another_planner_skips(dagster: Dagster, factory: SessionFactory, engine: Engine) -> None:
    factory.add()
    with planner_lock(engine) as connection:
        assert connection is not None
        assert tick(dagster) == "another planner is at work"
    assert len(requests_of(dagster)) == 1


def test_during_a_pause_a_tick_reads_no_recording_asks_for_nothing_and_says_why(
    dagster: Dagster, factory: SessionFactory, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, recompute_stale_per_tick=1)
    key = factory.add()
    extract_session(engine, key, settings)
    tick(dagster)
    factory.replace_file(key, "other.npy")
    factory.rows("UPDATE heimdall.feature_states SET stale_reason = 'receiver_settings' RETURNING 1")
    factory.add(minutes=5)
    with transaction(engine) as connection:
        held, _ = pauses.pause(connection, by="cli ada")
    assert tick(dagster) == held.in_words
    assert factory.scalar("SELECT count(*) FROM heimdall.feature_requests") == 0
    assert factory.state(key) == "done"
    (latest, *_) = dagster.materializations(AssetKey("feature_coverage"))
    assert latest.metadata["recordings_pending"].value == 1


def test_a_tick_skips_while_the_database_is_away(dagster: Dagster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    current_settings.cache_clear()
    answer = tick(dagster)
    assert isinstance(answer, str)
    assert answer.startswith("database_unavailable: PostgreSQL is not available: ")


def test_a_tick_on_a_database_that_was_never_upgraded_says_what_to_do(
    dagster: Dagster, server_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database(server_url, "template1")
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", url.render_as_string(hide_password=False))
    current_settings.cache_clear()
    assert tick(dagster) == (
        f"wrong_database: the database {url.database} was never upgraded: run `heimdall db upgrade`"
    )


def test_it_finds_recordings_that_were_replaced_and_asks_for_some_stale_sessions(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, recompute_stale_per_tick=1)
    replaced, *stale = factory.add_many(3)
    for key in (replaced, *stale):
        extract_session(engine, key, settings)
    tick(dagster)
    (factory.root / "other.npy").write_bytes((factory.root / GOOD).read_bytes())
    factory.replace_file(replaced, "other.npy")
    with transaction(engine) as connection:
        receivers.set_settings(connection, "RX1", FIRST_START + timedelta(minutes=1), calibration_db=1.0)
    (request,) = requests_of(dagster)
    assert (request.tags[START], request.tags[END]) == (str(replaced), str(replaced))
    asked = factory.rows("SELECT selection -> 'session_ids', requested_by FROM heimdall.feature_requests")
    assert asked == [([str(stale[1])], "recompute_stale")]
