"""The run queue is sized by the environment, and keeps what dagster.yaml says elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]
from dagster import DagsterInstance

from heimdall_assets import embedded
from heimdall_assets.settings import current_settings

if TYPE_CHECKING:
    from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig

    from heimdall_assets_tests.defs.conftest import Dagster


@pytest.fixture
def configured() -> dict[str, Any]:
    """What dagster.yaml says of the queue."""
    settings = yaml.safe_load(embedded.project_file("dagster.yaml").read_text())
    found: dict[str, Any] = settings["run_coordinator"]["config"]
    return found


def queue() -> RunQueueConfig:
    """As the daemon sees it."""
    current_settings.cache_clear()
    with DagsterInstance.get() as instance:
        config = instance.get_concurrency_config().run_queue_config
    assert config is not None
    return config


def limits(config: RunQueueConfig) -> dict[str, int]:
    """Of runs with a tag."""
    return {limit["key"]: limit["limit"] for limit in config.tag_concurrency_limits}


def test_without_variables_the_queue_is_that_of_dagster_yaml(dagster: Dagster, configured: dict[str, Any]) -> None:
    config = queue()
    assert config.max_concurrent_runs == configured["max_concurrent_runs"]
    assert config.tag_concurrency_limits == configured["tag_concurrency_limits"]
    assert config.max_user_code_failure_retries == 0


def test_more_runs_leave_one_for_fresh_sessions(dagster: Dagster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_MAX_CONCURRENT_RUNS", "12")
    config = queue()
    assert config.max_concurrent_runs == 12
    assert limits(config) == {"heimdall/slot": 11}


def test_with_a_broker_a_run_that_cannot_be_sent_waits_instead_of_failing(
    dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    config = queue()
    assert config.max_user_code_failure_retries * config.user_code_failure_retry_delay >= 3600
