"""Which partition keys somebody counts on: those of runs and backfills that have not ended."""

import logging
from collections.abc import Mapping
from typing import Any

from dagster import DagsterInstance, DagsterRun, RunsFilter
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from heimdall_assets.defs.partitions import recording_sessions_partitions

logger = logging.getLogger(__name__)


def keys_in_use(instance: DagsterInstance) -> set[str] | None:
    """Keys that must stay: taking one out of a range would leave a session out of the run.

    Returns
    -------
    set of str or None
        None where a backfill is under way whose keys cannot be told: then every key may be in use.
    """
    used = _keys_of_backfills(instance)
    if used is None:
        return None
    spans: list[tuple[str, str]] = []
    for run in instance.get_runs(RunsFilter(statuses=NOT_FINISHED_STATUSES)):
        start, end = (run.tags.get(tag) for tag in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG))
        if start is not None and end is not None:
            spans.append((start, end))
        if key := run.tags.get(PARTITION_NAME_TAG):
            used.add(key)
        used.update(_listed(run))
    return used | _between(instance, spans)


def _between(instance: DagsterInstance, spans: list[tuple[str, str]]) -> set[str]:
    """All keys from the first to the last of each span, in the order of registration, which is a range's."""
    if not spans:
        return set()
    keys = instance.get_dynamic_partitions(str(recording_sessions_partitions.name))
    position = {key: index for index, key in enumerate(keys)}
    used = {key for span in spans for key in span}
    for start, end in spans:
        if start in position and end in position:
            used.update(keys[position[start] : position[end] + 1])
    return used


def _listed(run: DagsterRun) -> list[str]:
    """The ids in the configuration of a run of ``extract_sessions``."""
    value: Any = run.run_config
    for name in ("ops", "extract_listed_sessions", "config", "session_ids"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return [str(item) for item in value] if isinstance(value, list) else []


def _keys_of_backfills(instance: DagsterInstance) -> set[str] | None:
    under_way = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
    used: set[str] = set()
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=under_way)):
        if backfill.partition_names is not None:
            used.update(backfill.partition_names)
        elif backfill.asset_backfill_data is not None:
            subsets = backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key
            for subset in subsets.values():
                used.update(subset.get_partition_keys())
        else:
            logger.warning("backfill %s is under way and does not say of which keys", backfill.backfill_id)
            return None
    return used
