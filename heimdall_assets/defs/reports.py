"""What PostgreSQL says of the whole, as assets: coverage, the receivers' health, the training samples.

They have no work of their own. Sensor and schedule report them without a run; materializing one in the UI asks the
same questions.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dagster import (
    AssetKey,
    AssetMaterialization,
    MaterializeResult,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
    asset,
)
from sqlalchemy.engine import Connection

from heimdall_assets.db import activity, network, training
from heimdall_assets.db.coverage import coverage_by_day, report_coverage
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.network import ReceiverHealth
from heimdall_assets.db.recent import trouble_by_reason
from heimdall_assets.defs.assets import OWNERS
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.dsp import FEATURES
from heimdall_assets.records import FEATURE_VERSION

Metadata = dict[str, MetadataValue[Any]]

COVERAGE_KEY = AssetKey("feature_coverage")
HEALTH_KEY = AssetKey("receiver_health")
SAMPLES_KEY = AssetKey("training_samples")


@asset(
    name="feature_coverage",
    deps=["measurement_features"],
    description="How many completed sessions have features: the figures of `heimdall stats` over time, by day, by "
    "version, and what fails.",
    group_name="heimdall",
    kinds={"postgres"},
    owners=OWNERS,
)
def feature_coverage(heimdall: Heimdall) -> MaterializeResult[None]:
    """Ask PostgreSQL; also reported by the sensor and the schedule without a run of their own."""
    with heimdall.engine() as engine, transaction(engine) as connection:
        return MaterializeResult(metadata=coverage_metadata(connection))


@asset(
    name="receiver_health",
    deps=["feature_coverage"],
    description=f"Each receiver over the latest {network.SAMPLE_SESSIONS:,} completed sessions: share delivered, "
    "with a signal, failing, mean SNR, last seen, and whether it has gone quiet.",
    group_name="heimdall",
    kinds={"postgres"},
    owners=OWNERS,
)
def receiver_health(heimdall: Heimdall) -> MaterializeResult[None]:
    """Ask PostgreSQL; also reported by the schedule, and by the sensor when the work is done."""
    with heimdall.engine() as engine, transaction(engine) as connection:
        return MaterializeResult(metadata=health_metadata(connection))


@asset(
    name="training_samples",
    deps=["feature_coverage"],
    description=f"The view `{training.VIEW}`: a row a session and receiver with features, ground truth, feature "
    f"version, and {4 * len(FEATURES)} columns FEATURE_STATISTIC, such as `snr_db_mean`: each of the {len(FEATURES)} "
    "features of `measurement_features` with mean, std, min and max over the chunks. `heimdall export` writes one "
    "version of it into a file.",
    group_name="heimdall",
    kinds={"postgres", "view"},
    owners=OWNERS,
    metadata={"dagster/table_name": training.VIEW},
)
def training_samples(heimdall: Heimdall) -> MaterializeResult[None]:
    """Say how many rows the view has; it is a view: nothing is written."""
    with heimdall.engine() as engine, transaction(engine) as connection:
        return MaterializeResult(metadata=samples_metadata(connection))


def report_events(heimdall: Heimdall, *, is_whole: bool = True) -> list[AssetMaterialization]:
    """The reports as events, for sensor and schedule.

    Parameters
    ----------
    heimdall : Heimdall
        Where the database is.
    is_whole : bool
        False while work is under way and they come every minute: coverage alone, without its picture.
    """
    with heimdall.engine() as engine, transaction(engine) as connection:
        coverage = coverage_metadata(connection, has_picture=is_whole)
        events = [AssetMaterialization(COVERAGE_KEY, metadata=coverage)]
        if is_whole:
            events.append(AssetMaterialization(HEALTH_KEY, metadata=health_metadata(connection)))
            events.append(AssetMaterialization(SAMPLES_KEY, metadata=samples_metadata(connection)))
    return events


def coverage_metadata(connection: Connection, *, has_picture: bool = True) -> Metadata:
    """Every figure of ``stats`` as a number, which the UI plots; tables by day, reason and version; a picture."""
    # The report is in PostgreSQL before it is in Dagster's log: the log shows it, and is never read for it.
    figures = report_coverage(connection, feature_version=FEATURE_VERSION)
    metadata = _numbers(figures)
    tables = {
        "by_day": coverage_by_day(connection),
        "by_reason": [
            {"reason": group.reason, "sessions": group.sessions, "given_up": group.quarantined}
            for group in trouble_by_reason(connection)
        ],
        "by_version": [
            {"feature_version": "other code" if number is None else str(number), "sessions": sessions}
            for number, sessions in activity.version_counts(connection)
        ],
    }
    metadata.update({name: _table(rows) for name, rows in tables.items() if rows})
    if has_picture:
        metadata["over_time"] = MetadataValue.md(_picture(connection))
    return metadata


def health_metadata(connection: Connection) -> Metadata:
    """How many receivers there are, are quiet or failing, what they deliver together, and a table of them."""
    receivers = network.receiver_health(connection, latest=network.SAMPLE_SESSIONS)
    metadata = _numbers(
        {
            "receivers": len(receivers),
            "receivers_quiet": sum(receiver.is_quiet for receiver in receivers),
            "receivers_failing": sum(bool(receiver.failing) for receiver in receivers),
            "delivered_percent": _mean(receiver.delivered_percent for receiver in receivers if receiver.is_active),
            "signal_percent": _mean(receiver.signal_percent for receiver in receivers),
            "failing_percent": _mean(receiver.failing_percent for receiver in receivers),
            "mean_snr_db": _mean(receiver.mean_snr_db for receiver in receivers),
            "sampled_sessions": max((receiver.sessions for receiver in receivers), default=0),
        }
    )
    if receivers:
        metadata["by_receiver"] = _table([_health_row(receiver) for receiver in receivers])
    return metadata


def samples_metadata(connection: Connection) -> Metadata:
    """How many samples there are of the present version, and of each."""
    counts = training.sample_counts(connection)
    present = next((count for count in counts if count.feature_version == FEATURE_VERSION), None)
    ours = [count for count in counts if count.feature_version is not None]
    metadata = _numbers(
        {
            "dagster/row_count": sum(count.samples for count in ours),
            "samples_of_this_version": present.samples if present else 0,
            "sessions_of_this_version": present.sessions if present else 0,
            "stale_sessions_of_this_version": present.stale_sessions if present else 0,
            "feature_version": FEATURE_VERSION,
        }
    )
    if ours:
        metadata["by_version"] = _table(
            [
                {
                    "feature_version": str(count.feature_version),
                    "samples": count.samples,
                    "sessions": count.sessions,
                    "stale_sessions": count.stale_sessions,
                }
                for count in ours
            ]
        )
    return metadata


def _health_row(receiver: ReceiverHealth) -> dict[str, Any]:
    return {
        "receiver": receiver.name,
        "quiet": receiver.is_quiet,
        "last_seen": f"{receiver.last_seen:%Y-%m-%d %H:%M:%S}" if receiver.last_seen else None,
        "missed": receiver.missed,
        "delivered_percent": _rounded(receiver.delivered_percent),
        "signal_percent": _rounded(receiver.signal_percent),
        "failing_percent": _rounded(receiver.failing_percent),
        "mean_snr_db": _rounded(receiver.mean_snr_db),
    }


def _picture(connection: Connection) -> str:
    """Markdown of a picture that is in it; and of what it shows, for those who do not see it."""
    # matplotlib takes half a second to import: a run that only extracts does not pay for it
    from heimdall_assets.plots.canvas import png  # noqa: PLC0415
    from heimdall_assets.plots.coverage import CoveragePoint, coverage_figure  # noqa: PLC0415

    points = []
    for report in activity.coverage_history(connection, points=100):
        figures = report.figures
        points.append(
            CoveragePoint(
                report.reported_at,
                with_features=int(figures["recordings_with_features"]),
                waiting=int(figures["recordings_pending"]) + int(figures["recordings_running"]),
                failed=int(figures["recordings_failed"]) + int(figures["recordings_quarantined"]),
                not_computable=int(figures["recordings_without_iq"]) + int(figures["recordings_ignored"]),
            )
        )
    encoded = base64.b64encode(png(coverage_figure(points))).decode("ascii")
    return f"![{points[-1].with_features} sessions have features](data:image/png;base64,{encoded})"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(sum(known) / len(known)) if known else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _numbers(figures: Mapping[str, int | float | None]) -> Metadata:
    return {
        name: MetadataValue.float(float(value)) if isinstance(value, float) else MetadataValue.int(int(value))
        for name, value in figures.items()
        if value is not None
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> MetadataValue[Any]:
    kinds = {bool: "bool", int: "int", float: "float", str: "string"}
    columns = [
        TableColumn(name, next((kinds[type(row[name])] for row in rows if row[name] is not None), "string"))
        for name in rows[0]
    ]
    return MetadataValue.table([TableRecord(row) for row in rows], schema=TableSchema(columns))
