"""Sending runs: which queue, what happens without a broker, and what a person who stops one gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext

from heimdall_assets.defs.fleet.launcher import FleetRunLauncher, queue_of
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.system import free_port

if TYPE_CHECKING:
    from heimdall_assets_tests.defs.conftest import Dagster


@pytest.fixture
def launcher(dagster: Dagster, monkeypatch: pytest.MonkeyPatch) -> FleetRunLauncher:
    """A launcher whose broker does not answer."""
    monkeypatch.setenv("HEIMDALL_CELERY_BROKER_URL", f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    current_settings.cache_clear()
    launcher = FleetRunLauncher(current_settings())
    launcher.register_instance(dagster.instance)
    return launcher


@pytest.mark.parametrize(
    ("tags", "queue"),
    [
        ({"heimdall/lane": "fresh"}, "heimdall-fresh"),
        ({}, "heimdall-fresh"),  # somebody waits for it in the UI
        ({"heimdall/lane": "backlog", "heimdall/slot": "shared"}, "heimdall-backfill"),
        ({"dagster/backfill": "abcdefgh"}, "heimdall-backfill"),
        ({"heimdall/slot": "shared", "dagster-celery/queue": "elsewhere"}, "elsewhere"),
    ],
)
def test_fresh_work_and_what_can_wait_have_queues_of_their_own(tags: dict[str, str], queue: str) -> None:
    assert queue_of(DagsterRun(job_name="extract_features", tags=tags)) == queue


def test_without_a_broker_the_launch_fails_in_the_way_that_puts_the_run_back_into_the_queue(
    launcher: FleetRunLauncher, dagster: Dagster
) -> None:
    run = dagster.add_run(DagsterRunStatus.STARTING)
    with pytest.raises(DagsterUserCodeUnreachableError, match=r"^the broker redis://:\*\*\*@127.0.0.1:\d+/0 cannot be"):
        launcher.launch_run(LaunchRunContext(run, workspace=None))


def test_stopping_a_run_says_so_where_its_worker_looks(launcher: FleetRunLauncher, dagster: Dagster) -> None:
    run = dagster.add_run(DagsterRunStatus.STARTED)
    assert launcher.terminate(run.run_id)
    assert dagster.status_of(run) == DagsterRunStatus.CANCELING
    ended = dagster.add_run(DagsterRunStatus.SUCCESS)
    assert not launcher.terminate(ended.run_id)
    assert dagster.status_of(ended) == DagsterRunStatus.SUCCESS


def test_the_message_of_a_run_that_nobody_took_up_names_its_queue_and_no_password(
    launcher: FleetRunLauncher, dagster: Dagster
) -> None:
    message = launcher.get_run_worker_debug_info(dagster.add_run(DagsterRunStatus.STARTING))
    assert message is not None
    assert "heimdall-fresh" in message
    assert "`heimdall worker`" in message
    assert "hunter2" not in message
