"""Runs whose process is dead, told by the lock that a live one holds."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from dagster import AssetKey, DagsterRunStatus

from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import run_lock
from heimdall_assets.defs.forks import PROCESS_TAG, LocalProcess
from heimdall_assets.defs.runs import fail_dead_runs, has_open_runs

if TYPE_CHECKING:
    from collections.abc import Collection

    from dagster import DagsterRun
    from sqlalchemy.engine import Engine

    from heimdall_assets_tests.defs.conftest import Dagster

JOBS = ("extract_features", "extract_sessions")


def look(dagster: Dagster, engine: Engine, suspects: Collection[str] = ()) -> tuple[str, ...]:
    """One look for dead runs."""
    with transaction(engine) as connection:
        return fail_dead_runs(dagster.instance, connection, JOBS, suspects)


@pytest.mark.parametrize("job_name", JOBS)
def test_a_started_run_without_a_lock_is_failed_at_the_second_look(
    dagster: Dagster, engine: Engine, job_name: str
) -> None:
    run = dagster.add_run(DagsterRunStatus.STARTED, job_name)
    assert look(dagster, engine) == (run.run_id,)
    assert dagster.status_of(run) == DagsterRunStatus.STARTED
    assert look(dagster, engine, (run.run_id,)) == ()
    assert dagster.status_of(run) == DagsterRunStatus.FAILURE
    (event,) = [log for log in dagster.instance.all_logs(run.run_id) if "PIPELINE_FAILURE" in str(log.dagster_event)]
    assert "The process of this run ended without a word." in event.message


def test_a_run_that_took_its_lock_after_the_first_look_lives(dagster: Dagster, engine: Engine) -> None:
    run = dagster.add_run(DagsterRunStatus.STARTED)
    suspects = look(dagster, engine)
    with run_lock(engine, run.run_id):
        assert look(dagster, engine, suspects) == ()
        assert dagster.status_of(run) == DagsterRunStatus.STARTED
    assert look(dagster, engine) == (run.run_id,)


def test_a_run_whose_process_died_while_it_was_being_cancelled_is_cancelled(dagster: Dagster, engine: Engine) -> None:
    run = dagster.add_run(DagsterRunStatus.CANCELING)
    with run_lock(engine, run.run_id):
        assert look(dagster, engine, (run.run_id,)) == ()
    assert look(dagster, engine) == (run.run_id,)
    assert look(dagster, engine, (run.run_id,)) == ()
    assert dagster.status_of(run) == DagsterRunStatus.CANCELED


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING])
def test_a_run_that_never_came_to_take_its_lock_is_failed_after_a_grace(
    dagster: Dagster, engine: Engine, monkeypatch: pytest.MonkeyPatch, status: DagsterRunStatus
) -> None:
    run = dagster.add_run(status)
    others = dagster.add_run(status, "somebody_elses_job")
    assert look(dagster, engine) == ()
    assert dagster.status_of(run) == status
    monkeypatch.setattr("heimdall_assets.defs.runs.START_GRACE", timedelta(seconds=0))
    assert look(dagster, engine) == ()
    assert dagster.status_of(run) == DagsterRunStatus.FAILURE
    assert dagster.status_of(others) == status


def test_a_run_that_is_on_its_way_whose_process_or_code_server_is_gone_is_failed_sooner(
    dagster: Dagster, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heimdall_assets.defs.runs.ORPHAN_GRACE", timedelta(seconds=0))

    us = LocalProcess.of(os.getpid())
    ended = replace(us, started_s=us.started_s - 3600)

    def start(**server: object) -> DagsterRun:
        return dagster.add_run(DagsterRunStatus.STARTING, tags={".dagster/grpc_info": json.dumps(server)})

    # Beneath the test's own folder paths grow longer than a socket's may be.
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as server,
        socket.socket(socket.AF_UNIX) as later_server,
    ):
        server.bind(f"{folder}/alive")
        server.listen()
        replaced = start(host="localhost", socket=f"{folder}/again")
        time.sleep(0.1)  # file systems keep times by the kernel's tick
        later_server.bind(f"{folder}/again")
        later_server.listen()
        alive, gone = (
            start(host="localhost", socket=f"{folder}/alive"),
            start(host="localhost", socket=f"{folder}/gone"),
        )
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        closed_port = start(host="127.0.0.1", port=port)
        elsewhere = dagster.add_run(DagsterRunStatus.STARTING)
        dead, forked = (
            dagster.add_run(DagsterRunStatus.STARTING, tags={PROCESS_TAG: process.to_tag()}) for process in (ended, us)
        )
        look(dagster, engine)
    assert dagster.status_of(alive) == DagsterRunStatus.STARTING
    assert dagster.status_of(gone) == DagsterRunStatus.FAILURE
    assert dagster.status_of(replaced) == DagsterRunStatus.FAILURE
    assert dagster.status_of(closed_port) == DagsterRunStatus.FAILURE
    assert dagster.status_of(elsewhere) == DagsterRunStatus.STARTING
    assert dagster.status_of(dead) == DagsterRunStatus.FAILURE
    assert dagster.status_of(forked) == DagsterRunStatus.STARTING


def test_a_dead_run_that_the_ui_launched_is_found_as_well_and_runs_of_other_assets_are_not(
    dagster: Dagster, engine: Engine
) -> None:
    def add(asset: str) -> DagsterRun:
        return dagster.add_run(DagsterRunStatus.STARTED, "__ASSET_JOB", asset_selection=frozenset([AssetKey(asset)]))

    features, others = add("measurement_features"), add("somebody_elses_asset")
    assert look(dagster, engine) == (features.run_id,)
    look(dagster, engine, (features.run_id, others.run_id))
    assert dagster.status_of(features) == DagsterRunStatus.FAILURE
    assert dagster.status_of(others) == DagsterRunStatus.STARTED


def test_runs_that_are_not_under_way_are_no_suspects(dagster: Dagster, engine: Engine) -> None:
    statuses = [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING, DagsterRunStatus.SUCCESS]
    runs = [dagster.add_run(status) for status in statuses]
    assert look(dagster, engine, [run.run_id for run in runs]) == ()
    assert [dagster.status_of(run) for run in runs] == statuses


def test_runs_of_other_jobs_are_nobodys_business(dagster: Dagster, engine: Engine) -> None:
    run = dagster.add_run(DagsterRunStatus.STARTED, "somebody_elses_job")
    assert look(dagster, engine, (run.run_id,)) == ()
    assert dagster.status_of(run) == DagsterRunStatus.STARTED


def test_queued_runs_are_open_and_ended_ones_are_not(dagster: Dagster) -> None:
    for status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED, DagsterRunStatus.SUCCESS):
        dagster.add_run(status, "extract_sessions")
    assert not has_open_runs(dagster.instance, JOBS)
    for status in (DagsterRunStatus.QUEUED, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING):
        job_name = f"job_{status.value}"
        dagster.add_run(status, job_name)
        assert has_open_runs(dagster.instance, ("another_job", job_name))
    assert not has_open_runs(dagster.instance, JOBS)
