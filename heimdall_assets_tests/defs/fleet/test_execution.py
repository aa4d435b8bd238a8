"""What a worker does with a run that was delivered to it: once, again, too late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dagster import DagsterRunStatus

from heimdall_assets.db.locks import run_claim
from heimdall_assets.defs.fleet.execution import execute

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets_tests.defs.conftest import Dagster


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (DagsterRunStatus.STARTED, DagsterRunStatus.FAILURE),
        (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED),
        (DagsterRunStatus.QUEUED, DagsterRunStatus.QUEUED),
        (DagsterRunStatus.SUCCESS, DagsterRunStatus.SUCCESS),
        (DagsterRunStatus.FAILURE, DagsterRunStatus.FAILURE),
        (DagsterRunStatus.CANCELED, DagsterRunStatus.CANCELED),
    ],
)
def test_a_run_that_is_delivered_again_is_not_carried_out_and_one_that_nobody_carries_out_any_more_is_ended(
    dagster: Dagster, before: DagsterRunStatus, after: DagsterRunStatus
) -> None:
    run = dagster.add_run(before)
    execute(dagster.instance, run.run_id, worker="w@host")
    assert dagster.status_of(run) == after


@pytest.mark.parametrize("status", [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
def test_a_run_that_another_worker_carries_out_is_left_to_it(
    dagster: Dagster, engine: Engine, status: DagsterRunStatus
) -> None:
    run = dagster.add_run(status)
    with run_claim(engine, run.run_id) as is_ours:
        assert is_ours
        execute(dagster.instance, run.run_id, worker="w@host")
    assert dagster.status_of(run) == status


def test_a_run_that_was_deleted_is_no_error(dagster: Dagster) -> None:
    execute(dagster.instance, "5b0c7b6e-9b0e-4a50-8f8c-0b7a3c7d5a11", worker="w@host")
