"""The assets: Heimdall's tables, the features of every session, and how many of them are covered."""

import warnings
from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetSpec,
    BackfillPolicy,
    BetaWarning,
    Config,
    MaterializeResult,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
    asset,
)
from dagster._core.types.dagster_type import Nothing  # dagster.Nothing is declared as None
from pydantic import Field

from heimdall_assets.db.coverage import coverage_by_day, report_coverage
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.tables import measurement_features as features_table
from heimdall_assets.db.tables import measurements as measurements_table
from heimdall_assets.db.tables import recording_sessions as sessions_table
from heimdall_assets.defs.partitions import recording_sessions_partitions
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.walk import extract_and_report
from heimdall_assets.dsp import FEATURES
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import current_settings

OWNERS = ["team:heimdall"]
COVERAGE_KEY = AssetKey("feature_coverage")
EXTRACTION_POOL = "heimdall_extraction"


def _columns(table: object) -> TableSchema:
    columns = getattr(table, "columns", ())
    return TableSchema([TableColumn(c.name, str(c.type).lower()) for c in columns])


recording_sessions = AssetSpec(
    "recording_sessions",
    partitions_def=recording_sessions_partitions,
    description="One transmission captured by several receivers at once; Heimdall's other services write the table.",
    group_name="heimdall",
    kinds={"postgres", "table"},
    owners=OWNERS,
    metadata={
        "dagster/table_name": "heimdall.recording_sessions",
        "dagster/column_schema": _columns(sessions_table),
    },
)

measurements = AssetSpec(
    "measurements",
    description="One receiver's part of a session, pointing at an IQ file; Heimdall's other services write the table.",
    group_name="heimdall",
    kinds={"postgres", "table"},
    owners=OWNERS,
    metadata={
        "dagster/table_name": "heimdall.measurements",
        "dagster/column_schema": _columns(measurements_table),
    },
)


class ExtractionConfig(Config):
    """What a person may ask of a run."""

    recompute: bool = Field(default=False, description="Compute again even what has features of this version")
    stale: bool = Field(default=False, description="Compute again what is of an older version, or of other code")


def _features_description() -> str:
    cells = [(f.name, f.unit or "-", f.description, f.null_when or "never") for f in FEATURES]
    rows = "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in cells)
    return (
        "RF features of every receiver of a session: mean, std, min and max over chunks, correlated over all "
        "receivers in one row of `heimdall.measurement_features`.\n\n"
        f"| feature | unit | meaning | null when |\n|---|---|---|---|\n{rows}"
    )


with warnings.catch_warnings():
    warnings.simplefilter("ignore", BetaWarning)  # backfill_policy has been beta for years
    _backfill_policy = BackfillPolicy.multi_run(max_partitions_per_run=current_settings().batch_size)

    # A generator with output type Nothing, not required: it reports its partitions itself, one by one, and Dagster adds
    # no materialization of its own for the keys that failed.
    @asset(
        name="measurement_features",
        partitions_def=recording_sessions_partitions,
        deps=["recording_sessions", "measurements"],
        backfill_policy=_backfill_policy,
        output_required=False,
        dagster_type=Nothing,
        code_version=str(FEATURE_VERSION),
        description=_features_description(),
        group_name="heimdall",
        kinds={"postgres", "numpy"},
        owners=OWNERS,
        metadata={
            "dagster/table_name": "heimdall.measurement_features",
            "dagster/column_schema": _columns(features_table),
        },
    )
    def measurement_features(
        context: AssetExecutionContext, config: ExtractionConfig, heimdall: Heimdall
    ) -> Iterator[None]:
        """Compute the features of the run's sessions."""
        with heimdall.engine() as engine:
            extract_and_report(
                context.op_execution_context,
                engine,
                context.partition_keys,
                heimdall.settings,
                recompute=config.recompute,
                stale=config.stale,
            )
        yield from ()


@asset(
    name="feature_coverage",
    deps=["measurement_features"],
    description="How many completed sessions have features: the figures of `heimdall stats` over time, and by day.",
    group_name="heimdall",
    kinds={"postgres"},
    owners=OWNERS,
)
def feature_coverage(heimdall: Heimdall) -> MaterializeResult[None]:
    """Ask PostgreSQL; also reported by the sensor and the schedule without a run of their own."""
    return MaterializeResult(metadata=coverage_metadata(heimdall))


def coverage_event(heimdall: Heimdall) -> AssetMaterialization:
    """The same as an event, for the sensor and the schedule."""
    return AssetMaterialization(COVERAGE_KEY, metadata=coverage_metadata(heimdall))


def coverage_metadata(heimdall: Heimdall) -> dict[str, MetadataValue[Any]]:
    """Every figure of ``stats`` as a number, which the UI plots, and a table by day."""
    # The report is in PostgreSQL before it is in Dagster's log: the log shows it, and is never read for it.
    with heimdall.engine() as engine, transaction(engine) as connection:
        figures = report_coverage(connection, feature_version=FEATURE_VERSION)
        by_day = coverage_by_day(connection)
    metadata: dict[str, MetadataValue[Any]] = {
        name: MetadataValue.float(float(value)) if isinstance(value, float) else MetadataValue.int(int(value))
        for name, value in figures.items()
        if value is not None
    }
    if by_day:
        metadata["by_day"] = MetadataValue.table([TableRecord(row) for row in by_day])
    return metadata
