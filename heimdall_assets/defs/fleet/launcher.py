"""Sends whole runs to Celery workers, and stops them."""

from celery.exceptions import OperationalError
from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._serdes.config_class import ConfigurableClassData
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG

from heimdall_assets.defs.fleet.app import BACKFILL, CONFIG, EXECUTE_RUN, FRESH, broker_url, configure, queue_name
from heimdall_assets.defs.fleet.release import this_code
from heimdall_assets.defs.tags import SLOT_TAG
from heimdall_assets.settings import Settings, without_password


class FleetRunLauncher(CeleryRunLauncher):
    """dagster-celery's launcher with queues for fresh and other work, and no result backend.

    What became of a run, and whether it is to be stopped, stands in Dagster's tables, which the worker reads; whether
    it is alive, in its lock. Both are seen whatever the broker is, and also when it is away.
    """

    def __init__(self, settings: Settings, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(
            default_queue=queue_name(FRESH),
            broker=broker_url(settings),
            config_source=dict(CONFIG),
            inst_data=inst_data,
        )
        configure(self.celery)
        self._address = without_password(broker_url(settings))

    def launch_run(self, context: LaunchRunContext) -> None:
        """Put a run into its queue at the broker.

        Raises
        ------
        DagsterUserCodeUnreachableError
            The broker is away. It is the one error after which the run goes back to Dagster's queue.
        """
        run = context.dagster_run
        queue = queue_of(run)
        message = {"run_id": run.run_id, "code": this_code().as_message()}
        signature = self.celery.signature(EXECUTE_RUN, kwargs=message, immutable=True)
        try:
            self._launch_celery_task_run(
                run.with_tags({DAGSTER_CELERY_QUEUE_TAG: queue, **run.tags}), signature, EXECUTE_RUN
            )
        except (OperationalError, OSError) as error:
            raise DagsterUserCodeUnreachableError(
                f"the broker {self._address} cannot be reached ({error}): the run goes back to the queue"
            ) from error

    def terminate(self, run_id: str) -> bool:
        """Ask for a run to be stopped: its worker looks at its status every second."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        return True

    @property
    def supports_resume_run(self) -> bool:
        """A run is never resumed: what it did not reach is planned anew."""
        return False

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Not from the broker, which does not know: ``defs/runs.py`` finds dead runs by their locks."""
        return False

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:  # noqa: ARG002
        """For the message of a run that nobody took up in time."""
        queue = queue_of(run)
        return (
            f"It waited in the queue {queue} at {self._address}: is a `heimdall worker` running that serves it, "
            "and are there as many as runs are let out at a time?"
        )


def queue_of(run: DagsterRun) -> str:
    """The broker's queue for a run: what its tag says, else by what kind of work it is.

    Fresh sessions and what a person starts by hand go to one queue; the backlog, retries, requests, upkeep and
    backfills of the UI to the other.
    """
    asked_for: str | None = run.tags.get(DAGSTER_CELERY_QUEUE_TAG)
    if asked_for is not None:
        return asked_for
    # the second for instances with Dagster's own queue, which gives backfills of the UI no slot
    can_wait = SLOT_TAG in run.tags or BACKFILL_ID_TAG in run.tags
    return queue_name(BACKFILL if can_wait else FRESH)
