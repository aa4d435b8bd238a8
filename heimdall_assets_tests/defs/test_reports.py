"""The assets that say how the whole is: what they show of a real database, by a run and without one."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from dagster import AssetKey, FloatMetadataValue, IntMetadataValue, TableMetadataValue, materialize

from heimdall_assets.db.engine import transaction
from heimdall_assets.defs.reports import feature_coverage, receiver_health, report_events, training_samples
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.db.rows import add_features
from heimdall_assets_tests.factory import GOOD, MISSING, TRUNCATED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster import AssetMaterialization, AssetsDefinition, MetadataValue
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

PNG = b"\x89PNG"


def metadata_of(dagster: Dagster, asset: AssetsDefinition) -> Mapping[str, MetadataValue[Any]]:
    """What a run of the asset shows."""
    assert materialize([asset], instance=dagster.instance, resources={"heimdall": Heimdall()}).success
    (made,) = dagster.materializations(AssetKey(asset.key.path))
    return made.metadata


def rows_of(value: MetadataValue[Any]) -> list[dict[str, Any]]:
    """The rows of a table, whose schema names every column."""
    assert isinstance(value, TableMetadataValue)
    rows = [dict(record.data) for record in value.records]
    assert all({column.name for column in value.schema.columns} == row.keys() for row in rows)
    return rows


def test_coverage_is_numbers_that_the_ui_plots_a_picture_and_tables_by_day_reason_and_version(
    dagster: Dagster, factory: SessionFactory
) -> None:
    ids = factory.add_many(3)
    factory.replace_file(ids[1], TRUNCATED)
    dagster.run_range(dagster.register(ids))
    factory.add(minutes=60 * 24)
    figures = dict(metadata_of(dagster, feature_coverage))
    by_day, by_reason, by_version, over_time = (
        figures.pop(name) for name in ("by_day", "by_reason", "by_version", "over_time")
    )
    assert all(isinstance(value, IntMetadataValue | FloatMetadataValue) for value in figures.values())
    assert figures["total_recordings"] == IntMetadataValue(4)
    assert figures["recordings_with_features"] == IntMetadataValue(2)
    assert figures["coverage_percent"] == FloatMetadataValue(50.0)
    assert figures["oldest_pending_age_seconds"].value is not None
    assert rows_of(by_day) == [
        {"day": "2025-06-02", "total": 1, "with_features": 0, "failed": 0, "coverage_percent": 0.0},
        {"day": "2025-06-01", "total": 3, "with_features": 2, "failed": 1, "coverage_percent": 66.67},
    ]
    assert rows_of(by_reason) == [{"reason": "truncated", "sessions": 1, "given_up": 1}]
    assert rows_of(by_version) == [{"feature_version": str(FEATURE_VERSION), "sessions": 2}]
    words, _, picture = str(over_time.value).partition("](data:image/png;base64,")
    assert words == "![2 sessions have features"
    assert base64.b64decode(picture.rstrip(")")).startswith(PNG)


@pytest.mark.usefixtures("environment")
def test_an_empty_database_is_reported_too_and_kept_in_postgresql_with_its_time(factory: SessionFactory) -> None:
    before = datetime.now(UTC)
    coverage, health, samples = report_events(Heimdall())
    assert coverage.metadata["coverage_percent"] == FloatMetadataValue(0.0)
    assert not {"by_day", "by_reason", "by_version", "oldest_pending_age_seconds"} & coverage.metadata.keys()
    assert health.metadata["receivers"] == IntMetadataValue(0)
    assert not {"by_receiver", "mean_snr_db", "delivered_percent"} & health.metadata.keys()
    assert samples.metadata["dagster/row_count"] == IntMetadataValue(0)
    ((reported_at, figures),) = factory.rows("SELECT reported_at, figures FROM heimdall.feature_coverage_reports")
    assert abs((reported_at - before).total_seconds()) < 60
    assert figures["total_recordings"] == 0


def test_while_work_is_under_way_there_is_coverage_alone_and_no_picture(
    dagster: Dagster, factory: SessionFactory
) -> None:
    factory.add()
    (event,) = report_events(Heimdall(), is_whole=False)
    assert event.asset_key == AssetKey("feature_coverage")
    assert "over_time" not in event.metadata
    assert event.metadata["recordings_pending"] == IntMetadataValue(1)


def test_receivers_are_shown_with_what_they_deliver_and_who_is_quiet(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = [factory.add((GOOD, TRUNCATED, GOOD)), *factory.add_many(11, (GOOD, MISSING), minutes=5)]
    for key in ids:
        extract_session(engine, key, settings)
    figures = metadata_of(dagster, receiver_health)
    numbers = {name: value.value for name, value in figures.items() if name != "by_receiver"}
    assert (numbers["receivers"], numbers["receivers_quiet"], numbers["receivers_failing"]) == (3, 1, 1)
    assert (numbers["sampled_sessions"], numbers["delivered_percent"]) == (12, pytest.approx(69.44, abs=0.01))
    first, second, third = rows_of(figures["by_receiver"])
    assert first == {
        "receiver": "RX1",
        "quiet": False,
        "last_seen": f"{datetime(2025, 6, 1, tzinfo=UTC) + timedelta(minutes=15):%Y-%m-%d %H:%M:%S}",
        "missed": 0,
        "delivered_percent": 100.0,
        "signal_percent": 100.0,
        "failing_percent": 0.0,
        "mean_snr_db": pytest.approx(17, abs=0.5),
    }
    assert (second["failing_percent"], second["mean_snr_db"], second["quiet"]) == (100.0, None, False)
    assert (third["missed"], third["quiet"], third["delivered_percent"]) == (11, True, 8.33)


def test_training_samples_are_counted_by_version_and_those_of_other_code_are_none(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(2)
    for key in ids:
        extract_session(engine, key, settings)
    with transaction(engine) as connection:
        add_features(connection, factory.add(minutes=5))
        add_features(connection, factory.add(minutes=6), metadata={"feature_version": FEATURE_VERSION - 1})
    dagster.run("reconcile_partitions")
    figures = metadata_of(dagster, training_samples)
    assert figures["dagster/row_count"] == IntMetadataValue(7)
    assert figures["samples_of_this_version"] == IntMetadataValue(6)
    assert figures["sessions_of_this_version"] == IntMetadataValue(2)
    assert [(row["feature_version"], row["samples"]) for row in rows_of(figures["by_version"])] == [
        (str(FEATURE_VERSION), 6),
        (str(FEATURE_VERSION - 1), 1),
    ]
    counted = factory.scalar("SELECT count(*) FROM heimdall.training_samples")
    assert figures["dagster/row_count"].value == counted


def test_reports_can_be_given_to_dagster_without_a_run(dagster: Dagster, factory: SessionFactory) -> None:
    factory.add()
    for event in report_events(Heimdall()):
        dagster.instance.report_runless_asset_event(event)
    latest: list[AssetMaterialization] = [
        dagster.materializations(AssetKey(name))[0]
        for name in ("feature_coverage", "receiver_health", "training_samples")
    ]
    assert [value.metadata != {} for value in latest] == [True] * 3
