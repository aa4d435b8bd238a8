"""The jobs that record a request: what they write down, and the lines that operators know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dagster import DagsterInvalidConfigError

if TYPE_CHECKING:
    from dagster import ExecuteInProcessResult

    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory


def lines(dagster: Dagster, result: ExecuteInProcessResult) -> list[str]:
    """What a run logged, without Dagster's own events."""
    return [entry.user_message for entry in dagster.instance.all_logs(result.run_id) if not entry.is_dagster_event]


def selections(factory: SessionFactory) -> list[dict[str, Any]]:
    """What was asked for, without what was left open."""
    rows = factory.rows("SELECT selection FROM heimdall.feature_requests ORDER BY created_at")
    return [{key: value for key, value in row[0].items() if value} for row in rows]


def test_a_batch_extraction_records_a_request_for_the_newest_and_ends(
    dagster: Dagster, factory: SessionFactory
) -> None:
    factory.add_many(3)
    config = {"ops": {"request_batches": {"config": {"batch_size": 20, "max_batches": 3}}}}
    result = dagster.run("batch_feature_extraction", run_config=config)
    assert result.success
    assert lines(dagster, result) == [
        "Starting batch feature extraction (batch_size=20, max_batches=3)",
        "Found 3 recordings without features",
        "Queued 3 feature extraction tasks",
    ]
    assert selections(factory) == [{"pending": True, "limit": 60, "batch_size": 20}]
    assert factory.scalar("SELECT count(*) FROM heimdall.feature_attempts") == 0


def test_a_batch_extraction_finds_no_more_than_its_batches_hold(dagster: Dagster, factory: SessionFactory) -> None:
    factory.add_many(5)
    config = {"ops": {"request_batches": {"config": {"batch_size": 2, "max_batches": 2}}}}
    result = dagster.run("batch_feature_extraction", run_config=config)
    assert "Found 4 recordings without features" in lines(dagster, result)


@pytest.mark.parametrize(("max_batches", "selection"), [(5, {"limit": 250}), (None, {})])
def test_the_number_of_batches_is_five_unless_it_is_said_to_have_no_limit(
    dagster: Dagster, factory: SessionFactory, max_batches: int | None, selection: dict[str, int]
) -> None:
    config = {} if max_batches == 5 else {"ops": {"request_batches": {"config": {"max_batches": max_batches}}}}
    assert dagster.run("batch_feature_extraction", run_config=config).success
    assert selections(factory) == [{"pending": True, "batch_size": 50, **selection}]


def test_a_full_backfill_records_a_request_for_everything_pending(dagster: Dagster, factory: SessionFactory) -> None:
    factory.add_many(2)
    factory.add(status="recording")
    result = dagster.run("backfill_all_features")
    assert result.success
    assert "Found 2 recordings without features" in lines(dagster, result)
    assert selections(factory) == [{"pending": True}]
    requested_by = factory.scalar("SELECT requested_by FROM heimdall.feature_requests")
    assert requested_by == f"run {result.run_id}"


def test_values_out_of_bounds_fail_the_run_and_are_named(dagster: Dagster, factory: SessionFactory) -> None:
    for name, value in (("batch_size", 0), ("batch_size", 1001), ("max_batches", 0)):
        config = {"ops": {"request_batches": {"config": {name: value}}}}
        result = dagster.run("batch_feature_extraction", run_config=config)
        (event,) = [event for event in result.all_events if event.is_step_failure]
        assert name in str(event.step_failure_data.error)
    assert selections(factory) == []


def test_a_value_that_is_none_of_theirs_is_refused(dagster: Dagster) -> None:
    config = {"ops": {"request_batches": {"config": {"no_such": 1}}}}
    with pytest.raises(DagsterInvalidConfigError, match="no_such"):
        dagster.run("batch_feature_extraction", run_config=config)
