"""What Dagster is told of a session's features: one materialization of its partition, with figures for people."""

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from dagster import (
    AssetKey,
    AssetMaterialization,
    MetadataValue,
    OpExecutionContext,
    TableColumn,
    TableRecord,
    TableSchema,
)
from dagster._core.events import DagsterEvent, DagsterEventBatchMetadata

from heimdall_assets.extraction import RECEIVER_FIGURES
from heimdall_assets.settings import Settings

FEATURES_KEY = AssetKey("measurement_features")


RECEIVER_COLUMNS = TableSchema(
    [
        TableColumn("receiver"),
        TableColumn("error"),  # where it is seen without scrolling
        *(TableColumn(name, "float") for name in RECEIVER_FIGURES),
    ]
)


def materialization(session_id: UUID, summary: Mapping[str, Any], settings: Settings) -> AssetMaterialization:
    """A session has features, whoever computed them.

    Parameters
    ----------
    session_id : UUID
        Its partition's key.
    summary : mapping
        From ``heimdall_assets.extraction.summary_of``.
    settings : Settings
        Where the dashboard is.
    """
    figures = dict(summary)
    by_receiver = figures.pop("by_receiver", [])
    metadata = _metadata(figures)
    if by_receiver:
        records = [TableRecord({name: _short(value) for name, value in row.items()}) for row in by_receiver]
        metadata["by_receiver"] = MetadataValue.table(records, schema=RECEIVER_COLUMNS)
    metadata["session"] = MetadataValue.url(f"{settings.dashboard_url.rstrip('/')}/sessions/{session_id}")
    return AssetMaterialization(FEATURES_KEY, partition=str(session_id), metadata=metadata)


def _short(value: str | float | None) -> str | float | None:
    """Four figures are enough for people, and events are kept for long."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def report_materializations(
    context: OpExecutionContext, sessions: Sequence[tuple[UUID, Mapping[str, Any]]], settings: Settings
) -> None:
    """Tell Dagster at once, from within a run, of several partitions that have features now.

    ``context.log_event`` would do the same one by one: it knows no batches, which the instance and its storages do.

    Parameters
    ----------
    context : OpExecutionContext
        The run's.
    sessions : sequence of (UUID, mapping)
        Ids and summaries.
    settings : Settings
        As of :func:`materialization`.
    """
    step = context.get_step_execution_context()
    batch_id, last = str(uuid.uuid4()), len(sessions) - 1
    for index, (session_id, summary) in enumerate(sessions):
        DagsterEvent.asset_materialization(
            step, materialization(session_id, summary, settings), DagsterEventBatchMetadata(batch_id, index == last)
        )


def _metadata(summary: Mapping[str, Any]) -> dict[str, MetadataValue[Any]]:
    values: dict[str, MetadataValue[Any]] = {}
    for name, value in summary.items():
        if value is None or (isinstance(value, float) and not math.isfinite(value)):  # other code may store NaN
            values[name] = MetadataValue.text("undefined" if name != "reasons" else "none")
        elif isinstance(value, bool | str):
            values[name] = MetadataValue.text(str(value))
        elif isinstance(value, int):
            values[name] = MetadataValue.int(value)
        else:
            values[name] = MetadataValue.float(round(float(value), 4))
    return values
