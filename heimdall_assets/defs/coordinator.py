"""The run queue, sized by the HEIMDALL_ environment: a laptop and a fleet use the same dagster.yaml."""

from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterRun
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._serdes import ConfigurableClassData

from heimdall_assets.defs.launcher import HeimdallRunLauncher
from heimdall_assets.defs.tags import SHARED, SLOT_TAG
from heimdall_assets.settings import Settings, current_settings

BROKER_RETRIES = 360
BROKER_RETRY_DELAY_S = 10
"""While the broker is away one run every ten seconds is tried, and fails after an hour; the others wait."""


class HeimdallRunCoordinator(QueuedRunCoordinator[Any]):
    """Dagster's queue, with what the environment says put over its configuration."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """Build the queue of this process's settings."""
        return cls(inst_data=inst_data, **queue_config(current_settings(), config_value))

    @property
    def dequeue_interval_seconds(self) -> int:
        """Seconds between two looks at the queue.

        Of all processes the daemon alone asks for it, once, as it starts: the first run should not have to wait for
        imports that can be done until then.
        """
        launcher = self._instance.run_launcher
        if isinstance(launcher, HeimdallRunLauncher):
            launcher.prepare()
        return super().dequeue_interval_seconds

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Queue a run; one that belongs to a backfill of the UI shares the slots of what can wait."""
        tags = context.dagster_run.tags
        if BACKFILL_ID_TAG in tags and SLOT_TAG not in tags:
            self._instance.add_run_tags(context.dagster_run.run_id, {SLOT_TAG: SHARED})
        return super().submit_run(context)


def queue_config(settings: Settings, configured: Mapping[str, Any]) -> dict[str, Any]:
    """What dagster.yaml says, and HEIMDALL_ variables where they are set.

    Parameters
    ----------
    settings : Settings
        The environment's.
    configured : mapping
        dagster.yaml's ``run_coordinator.config``.

    Returns
    -------
    dict
        All limits of tags leave one of the runs for fresh sessions. With a broker, a run that cannot be sent goes back
        to the queue.
    """
    config = dict(configured)
    if settings.max_concurrent_runs is not None:
        config["max_concurrent_runs"] = settings.max_concurrent_runs
        config["tag_concurrency_limits"] = [
            {**limit, "limit": settings.max_concurrent_runs - 1} for limit in config.get("tag_concurrency_limits", ())
        ]
    if settings.celery_broker_url is not None:
        config["max_user_code_failure_retries"] = BROKER_RETRIES
        config["user_code_failure_retry_delay"] = BROKER_RETRY_DELAY_S
    return config
