"""Where runs are carried out: on this machine, or on Celery workers where the HEIMDALL_ environment names a broker.

dagster.yaml names this class, since a YAML file cannot choose.
"""

import logging
from collections.abc import Mapping
from typing import Any

from dagster import DagsterRun, DefaultRunLauncher
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._serdes import ConfigurableClassData

from heimdall_assets.defs.forks import PROCESS_TAG, LocalProcess, RunForks
from heimdall_assets.errors import SettingError
from heimdall_assets.settings import Settings, current_settings

logger = logging.getLogger(__name__)


class HeimdallRunLauncher(DefaultRunLauncher):
    """A process a run on this machine; where HEIMDALL_CELERY_BROKER_URL is set, another class takes its place.

    Runs of our own definitions are forked (see ``forks.py``). Others start as Dagster's default launcher starts them,
    from their code server, which takes seconds; so do ours where there is nothing to fork from, and after the code on
    the disk has changed, until the daemon is started again.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._forks = RunForks()

    def prepare(self) -> None:
        """Have what runs are forked from import everything before there is a run."""
        try:
            self._forks.prepare()
        except OSError as error:
            logger.warning("the process that runs are forked from cannot be started yet: %s", error)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a run's process."""
        run = context.dagster_run
        if self._forks.can_carry_out(run):
            try:
                self._forks.start(self._instance, run.run_id)
            except (OSError, EOFError) as error:
                logger.warning("run %s cannot be forked (%s): its code server starts it", run.run_id, error)
            else:
                self._run_ids.add(run.run_id)
                return
        super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Have a run stopped: a forked one looks at its status every second."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or not _is_forked(run):
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]  # Dagster's has no types
        self._instance.report_run_canceling(run)
        return True

    @classmethod
    def from_config_value(  # type: ignore[override]  # which of the two launchers is the question
        cls,
        inst_data: ConfigurableClassData,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> RunLauncher[Any]:
        """Choose by the environment.

        Raises
        ------
        SettingError
            A broker is named, and the packages that speak to it are not installed.
        """
        settings = current_settings()
        return cls(inst_data) if settings.celery_broker_url is None else _fleet_launcher(settings, inst_data)


def _is_forked(run: DagsterRun) -> bool:
    tag = run.tags.get(PROCESS_TAG)
    return tag is not None and not LocalProcess.from_tag(tag).is_gone


def _fleet_launcher(settings: Settings, inst_data: ConfigurableClassData) -> RunLauncher[Any]:
    require_celery()
    # Imported here: it belongs to an extra, and who has no broker should not pay for it.
    from heimdall_assets.defs.fleet.launcher import FleetRunLauncher  # noqa: PLC0415

    return FleetRunLauncher(settings, inst_data)


def require_celery() -> None:
    """Raise SettingError where the extra ``celery`` is not installed."""
    try:
        import dagster_celery  # noqa: F401, PLC0415
    except ImportError:
        raise SettingError(
            f"{Settings.variable('celery_broker_url')} is set, but dagster-celery is not installed: "
            "pip install 'heimdall-assets[celery]'"
        ) from None
