"""The assets that hold data: Heimdall's tables, and the features of every session."""

import warnings
from collections.abc import Iterator

from dagster import (
    AssetExecutionContext,
    AssetSpec,
    BackfillPolicy,
    BetaWarning,
    Config,
    TableColumn,
    TableSchema,
    asset,
)
from dagster._core.types.dagster_type import Nothing  # dagster.Nothing is declared as None
from pydantic import Field

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
    stale: bool = Field(
        default=False,
        description="Compute again what is stale: of an older version, of other code, of other settings of a receiver",
    )


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
