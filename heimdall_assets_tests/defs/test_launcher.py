"""The launcher is chosen by the environment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from dagster import DagsterInstance, DefaultRunLauncher

from heimdall_assets.defs.fleet.launcher import FleetRunLauncher
from heimdall_assets.errors import SettingError
from heimdall_assets.settings import current_settings

if TYPE_CHECKING:
    from heimdall_assets_tests.defs.conftest import Dagster


def test_without_a_broker_runs_are_processes_of_this_machine(dagster: Dagster) -> None:
    assert isinstance(dagster.instance.run_launcher, DefaultRunLauncher)


def test_with_a_broker_runs_go_to_its_workers(dagster: Dagster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    current_settings.cache_clear()
    with DagsterInstance.get() as instance:
        assert isinstance(instance.run_launcher, FleetRunLauncher)


def test_a_broker_without_the_extra_is_a_setting_that_cannot_be_used(
    dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setitem(sys.modules, "dagster_celery", None)  # as if it were not installed
    current_settings.cache_clear()
    with (
        DagsterInstance.get() as instance,
        pytest.raises(SettingError, match=r"pip install 'heimdall-assets\[celery\]'"),
    ):
        _ = instance.run_launcher
