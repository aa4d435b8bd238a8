"""Where runs are carried out: on this machine, or on Celery workers where the HEIMDALL_ environment names a broker.

dagster.yaml names this class, since a YAML file cannot choose.
"""

from collections.abc import Mapping
from typing import Any

from dagster import DefaultRunLauncher
from dagster._core.launcher import RunLauncher
from dagster._serdes import ConfigurableClassData

from heimdall_assets.errors import SettingError
from heimdall_assets.settings import Settings, current_settings


class HeimdallRunLauncher(DefaultRunLauncher):
    """A process a run on this machine; where HEIMDALL_CELERY_BROKER_URL is set, another class takes its place."""

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
