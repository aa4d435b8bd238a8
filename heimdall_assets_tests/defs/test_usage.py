"""Which keys must stay because a run or a backfill that has not ended counts on them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from dagster import AssetKey, DagsterRunStatus
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from heimdall_assets.definitions import defs
from heimdall_assets.defs.usage import keys_in_use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heimdall_assets_tests.defs.conftest import Dagster

# Dagster uses, for every backfill, a function of its own that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`:DeprecationWarning")

KEYS = ["a", "b", "c", "d", "e"]


@pytest.fixture
def keys(dagster: Dagster) -> list[str]:
    """Five keys that Dagster knows."""
    dagster.instance.add_dynamic_partitions("recording_sessions", KEYS)
    return KEYS


def add_backfill(dagster: Dagster, keys: Sequence[str], status: BulkActionStatus) -> PartitionBackfill:
    """A backfill of these keys, as the UI launches one."""
    with partition_loading_context(dynamic_partitions_store=dagster.instance):
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id=f"backfill-{status.value}",
            asset_graph=defs.resolve_asset_graph(),
            partition_names=list(keys),
            asset_selection=[AssetKey("measurement_features")],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=dagster.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    dagster.instance.add_backfill(backfill)
    if status != BulkActionStatus.REQUESTED:
        dagster.instance.update_backfill(backfill._replace(status=status))
    return backfill


def span(start: str, end: str) -> dict[str, Any]:
    return {"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}


def test_without_runs_and_backfills_no_key_is_in_use(dagster: Dagster, keys: list[str]) -> None:
    assert keys_in_use(dagster.instance) == set()


@pytest.mark.parametrize("status", [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
def test_a_run_that_has_not_ended_uses_its_whole_range_in_the_order_of_registration(
    dagster: Dagster, keys: list[str], status: DagsterRunStatus
) -> None:
    dagster.add_run(status, tags=span("b", "d"))
    assert keys_in_use(dagster.instance) == {"b", "c", "d"}


def test_a_range_whose_end_is_gone_still_uses_its_ends(dagster: Dagster, keys: list[str]) -> None:
    dagster.add_run(DagsterRunStatus.QUEUED, tags=span("b", "gone"))
    assert keys_in_use(dagster.instance) == {"b", "gone"}


def test_a_run_of_one_partition_and_a_list_use_what_they_name(dagster: Dagster, keys: list[str]) -> None:
    dagster.add_run(DagsterRunStatus.STARTED, tags={"dagster/partition": "a"})
    config = {"ops": {"extract_listed_sessions": {"config": {"session_ids": ["d", "e"]}}}}
    dagster.add_run(DagsterRunStatus.QUEUED, "extract_sessions", run_config=config)
    assert keys_in_use(dagster.instance) == {"a", "d", "e"}


def test_runs_that_ended_use_nothing(dagster: Dagster, keys: list[str]) -> None:
    for status in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
        dagster.add_run(status, tags=span("a", "e"))
    assert keys_in_use(dagster.instance) == set()


@pytest.mark.parametrize("status", [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING])
def test_a_backfill_that_has_not_ended_uses_its_keys(
    dagster: Dagster, keys: list[str], status: BulkActionStatus
) -> None:
    add_backfill(dagster, ["a", "c"], status)
    assert keys_in_use(dagster.instance) == {"a", "c"}


@pytest.mark.parametrize("status", [BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.CANCELED])
def test_a_backfill_that_ended_uses_nothing(dagster: Dagster, keys: list[str], status: BulkActionStatus) -> None:
    add_backfill(dagster, ["a", "c"], status)
    assert keys_in_use(dagster.instance) == set()


def test_of_a_backfill_that_does_not_say_its_keys_every_key_may_be_in_use(dagster: Dagster, keys: list[str]) -> None:
    backfill = add_backfill(dagster, ["a"], BulkActionStatus.REQUESTED)
    dagster.instance.update_backfill(backfill._replace(asset_backfill_data=None, partition_names=None))
    assert keys_in_use(dagster.instance) is None
