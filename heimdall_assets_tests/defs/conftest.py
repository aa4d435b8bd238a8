"""Dagster's instance of a test, on the real server, and what it knows about the asset's partitions."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from dagster import AssetKey, DagsterEvent, DagsterInstance
from dagster._core.events import AssetMaterializationPlannedData
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test
from dagster_postgres import DagsterPostgresStorage

from heimdall_assets.db.engine import create_database_if_missing
from heimdall_assets.db.urls import DAGSTER_DRIVER
from heimdall_assets.definitions import defs
from heimdall_assets.defs.partitions import recording_sessions_partitions
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.conftest import drop_database, make_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from dagster import AssetMaterialization, DagsterRun, DagsterRunStatus, ExecuteInProcessResult
    from sqlalchemy.engine import URL

TEMPLATE = "template_dagster"
FEATURES = AssetKey("measurement_features")


@pytest.fixture(scope="session")
def dagster_template(server_url: URL) -> str:
    """Name of a database with Dagster's tables: copying it is faster than making them for every test."""
    url = server_url.set(drivername=DAGSTER_DRIVER, database=TEMPLATE)
    create_database_if_missing(url)
    DagsterPostgresStorage(url.render_as_string(hide_password=False))
    return TEMPLATE


@dataclass(frozen=True)
class Dagster:
    """The instance, and runs in this process."""

    instance: DagsterInstance

    def register(self, session_ids: Sequence[UUID]) -> list[str]:
        """Give keys to Dagster in this order; returns them."""
        keys = [str(key) for key in session_ids]
        self.instance.add_dynamic_partitions("recording_sessions", keys)
        return keys

    def run_range(self, keys: Sequence[str], **config: Any) -> ExecuteInProcessResult:
        """Run extract_features over the range from the first key to the last."""
        tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        return self.run("extract_features", tags=tags, run_config={"ops": {"measurement_features": {"config": config}}})

    def run_list(self, keys: Sequence[str], **config: Any) -> ExecuteInProcessResult:
        """Run extract_sessions over any keys."""
        listed = {"session_ids": list(keys), **config}
        return self.run("extract_sessions", run_config={"ops": {"extract_listed_sessions": {"config": listed}}})

    def run(
        self, job_name: str, *, run_config: Mapping[str, Any] | None = None, tags: Mapping[str, str] | None = None
    ) -> ExecuteInProcessResult:
        """Run a job to its end."""
        job = defs.resolve_job_def(job_name)
        return job.execute_in_process(
            instance=self.instance, run_config=run_config, tags=dict(tags or {}), raise_on_error=False
        )

    def add_run(
        self,
        status: DagsterRunStatus,
        job_name: str = "extract_features",
        *,
        tags: Mapping[str, str] | None = None,
        **more: Any,
    ) -> DagsterRun:
        """A run that Dagster believes to be in this state."""
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("heimdall_assets"), "__repository__")
        run: DagsterRun = create_run_for_test(
            self.instance,
            job_name=job_name,
            status=status,
            tags=dict(tags or {}),
            remote_job_origin=RemoteJobOrigin(repository, job_name),
            **more,
        )
        return run

    def plan_materialization(self, run: DagsterRun, key: str) -> None:
        """Have Dagster believe that this run is going to materialize a partition."""
        data = AssetMaterializationPlannedData(FEATURES, partition=key)
        event = DagsterEvent.build_asset_materialization_planned_event(run.job_name, "measurement_features", data)
        self.instance.report_dagster_event(event, run.run_id, logging.DEBUG)

    def status_of(self, run: DagsterRun) -> DagsterRunStatus:
        """The run's state now."""
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.status

    def colours(self, keys: Sequence[str]) -> list[str | None]:
        """What the UI shows of each key."""
        statuses = self.instance.get_status_by_partition(FEATURES, keys, recording_sessions_partitions)
        assert statuses is not None
        return [status.value if (status := statuses.get(key)) else None for key in keys]

    def materializations(self, asset_key: AssetKey = FEATURES) -> list[AssetMaterialization]:
        """All that were reported of an asset, the newest first."""
        records = self.instance.fetch_materializations(asset_key, limit=1000).records
        return [record.asset_materialization for record in records if record.asset_materialization is not None]


@pytest.fixture
def dagster(
    environment: Path, server_url: URL, dagster_template: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Dagster]:
    """Dagster on databases of the test's own, as dagster.yaml sets it up."""
    url = make_database(server_url, dagster_template)
    monkeypatch.setenv("HEIMDALL_DAGSTER_DATABASE_URL", url.render_as_string(hide_password=False))
    current_settings.cache_clear()
    with DagsterInstance.get() as instance:
        yield Dagster(instance)
    drop_database(url)
