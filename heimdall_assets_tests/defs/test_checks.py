"""The asset checks, each failing and passing on a real database, by a run and without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from dagster import AssetCheckSeverity, AssetSelection, materialize
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from heimdall_assets.db import quality
from heimdall_assets.db.discovery import discover
from heimdall_assets.db.engine import transaction
from heimdall_assets.defs.checks import CHECKS, asset_checks, evaluations
from heimdall_assets.defs.events import materialization
from heimdall_assets.defs.reports import feature_coverage, receiver_health, training_samples
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.dsp import FEATURES
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.factory import GOOD, TRUNCATED

if TYPE_CHECKING:
    from uuid import UUID

    from dagster import AssetCheckEvaluation
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

TONE_HZ = 1234.5
"""Offset of the factory's tone."""


def verdict(dagster: Dagster, name: str) -> AssetCheckEvaluation:
    """What a check says."""
    (found,) = [item for item in evaluations(Heimdall(), dagster.instance) if item.check_name == name]
    return found


def set_setting(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    """Change settings of this process."""
    for name, value in values.items():
        monkeypatch.setenv(f"HEIMDALL_{name.upper()}", str(value))
    current_settings.cache_clear()


def test_an_empty_database_passes_every_check(dagster: Dagster) -> None:
    found = evaluations(Heimdall(), dagster.instance)
    assert [item.check_name for item in found] == [check.name for check in CHECKS]
    assert [item.passed for item in found] == [True] * len(CHECKS)
    assert all(item.description for item in found)


def test_coverage_counts_what_had_its_time_and_fails_below_the_threshold(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in [*factory.add_many(3), factory.add((TRUNCATED,), minutes=5), factory.add((None,), minutes=6)]:
        extract_session(engine, key, settings)
    set_setting(monkeypatch, least_coverage_percent=75)
    factory.add_many(5, minutes=10)
    with transaction(engine) as connection:
        discover(connection)
    found = verdict(dagster, "coverage_is_high")
    assert (found.passed, found.severity) == (True, AssetCheckSeverity.ERROR)
    assert found.description == "3 of 4 sessions that should have features have them: 75.00 %, at least 75 %"
    set_setting(monkeypatch, least_coverage_percent=75.5)
    assert not verdict(dagster, "coverage_is_high").passed
    set_setting(monkeypatch, least_coverage_percent=75, most_pending_seconds=1e-6)  # now those that wait should be done
    late = verdict(dagster, "coverage_is_high")
    assert (late.passed, str(late.description)[:7]) == (False, "3 of 9 ")


def test_a_session_that_waits_too_long_fails_a_check(dagster: Dagster, engine: Engine, factory: SessionFactory) -> None:
    factory.add_many(2)  # in June 2025, and nobody has looked since
    old = verdict(dagster, "pending_is_young")
    assert not old.passed
    assert str(old.description).startswith("2 sessions wait, the oldest since ")
    with transaction(engine) as connection:
        discover(connection)
    assert verdict(dagster, "pending_is_young").passed


def test_a_quiet_receiver_is_named_with_when_it_was_heard_of_last(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    for key in [factory.add((GOOD,) * 2), *factory.add_many(10, (GOOD,), minutes=5)]:
        extract_session(engine, key, settings)
    found = verdict(dagster, "no_receiver_is_quiet")
    assert (found.passed, found.severity) == (False, AssetCheckSeverity.WARN)
    assert found.description == "1 of 2 receivers quiet: RX2 (last 2025-06-01 00:00, 10 sessions missed)"


@pytest.mark.parametrize(("off_hz", "tolerance_ppm", "passed"), [(0.0, 1, True), (400.0, 20, True), (400.0, 2, False)])
def test_a_beacon_far_from_its_frequency_names_the_receiver_and_by_how_much(
    dagster: Dagster,
    engine: Engine,
    factory: SessionFactory,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    off_hz: float,
    tolerance_ppm: float,
    passed: bool,
) -> None:
    set_setting(monkeypatch, beacon_tolerance_ppm=tolerance_ppm)
    source = factory.scalar(
        "INSERT INTO heimdall.known_sources (name, frequency_hz, latitude, longitude) "
        "VALUES ('beacon', :frequency_hz, 45, 8) RETURNING id",
        frequency_hz=round(145_500_000 + TONE_HZ - off_hz),
    )
    extract_session(engine, factory.add((GOOD, GOOD), known_source_id=source), settings)
    extract_session(engine, factory.add((GOOD,), minutes=5), settings)  # of a transmitter that nobody knows
    with transaction(engine) as connection:
        found = quality.beacon_deviations(connection, feature_version=FEATURE_VERSION, latest=10)
    assert [item.receiver for item in found] == ["RX1", "RX2"]
    assert [item.deviation_hz for item in found] == pytest.approx([off_hz] * 2, abs=1)
    said = verdict(dagster, "beacons_are_on_frequency")
    assert said.passed is passed
    if not passed:
        assert said.description == "2 of 2 receivers off by more than 2 ppm: RX1 +2.8 ppm, RX2 +2.8 ppm"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("r - 'gdop'", None),
        ("r - 'snr_db'", "snr_db_mean of RX1 in session {key} is nothing, and 3 more"),
        ("jsonb_set(r, '{rssi_dbm,std}', 'null')", "rssi_dbm_std of RX1 in session {key} is null"),
        ("jsonb_set(r, '{snr_db,max}', '\"NaN\"')", "snr_db_max of RX1 in session {key} is string"),
        ("jsonb_set(r, '{snr_db,max}', 'null')", None),
    ],
)
def test_a_figure_that_is_missing_or_no_number_is_named(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings, change: str, said: str | None
) -> None:
    key = factory.add((GOOD, TRUNCATED))
    extract_session(engine, key, settings)
    with transaction(engine) as connection:
        changed = connection.execute(
            sa.text(
                "UPDATE heimdall.measurement_features SET receiver_features = ARRAY("
                f"SELECT CASE WHEN r ->> 'rx_id' = 'RX1' THEN {change} ELSE r END FROM unnest(receiver_features) r)"
            )
        )
        assert changed.rowcount == 1
    found = verdict(dagster, "samples_are_whole")
    assert (found.passed, found.severity) == (said is None, AssetCheckSeverity.ERROR)
    expected = "the latest 1 sessions have every feature, a number or null where it may be"
    assert found.description == (expected if said is None else said.format(key=key))


def test_features_of_the_registry_that_are_never_null_are_those_that_are_checked() -> None:
    always = {feature.name for feature in FEATURES if not feature.null_when}
    assert {"rssi_dbm", "signal_present", "confidence_score"} <= always
    assert "snr_db" not in always


def test_what_dagster_was_not_told_of_is_overdue_after_a_while(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add()
    extract_session(engine, key, settings)
    assert verdict(dagster, "partitions_agree").passed
    make_old(factory)
    found = verdict(dagster, "partitions_agree")
    assert (found.passed, found.severity) == (False, AssetCheckSeverity.WARN)
    assert str(found.description) == (
        f"1 features that Dagster was not told of; for example {key}: `heimdall reconcile` sets it right"
    )
    assert dagster.run("reconcile_partitions").success
    make_old(factory)
    agreed = verdict(dagster, "partitions_agree")
    assert (agreed.passed, agreed.description) == (True, "1 partitions and 1 sessions compared: they agree")


def test_a_key_of_nobody_and_a_partition_that_lost_its_colour_are_found(
    dagster: Dagster, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    shown, lost = factory.add_many(2)
    for key in (shown, lost):
        extract_session(engine, key, settings)
    told(dagster, factory, shown)
    told(dagster, factory, lost, is_true=False)
    make_old(factory)
    dagster.register([shown, lost])
    dagster.instance.add_dynamic_partitions("recording_sessions", ["no session"])
    found = verdict(dagster, "partitions_agree")
    assert found.metadata["partitions of no completed session"].value == 1
    assert found.metadata["features that Dagster was told of and does not show"].value == 1
    assert str(lost) in str(found.description) or "no session" in str(found.description)


def make_old(factory: SessionFactory) -> None:
    """All of it happened an hour ago."""
    factory.rows(
        "UPDATE heimdall.feature_states SET updated_at = updated_at - interval '1 hour', "
        "reported_at = reported_at - interval '1 hour' RETURNING 1"
    )


def told(dagster: Dagster, factory: SessionFactory, session_id: UUID, *, is_true: bool = True) -> None:
    """The ledger says that Dagster was told of a session's features."""
    if is_true:
        dagster.instance.report_runless_asset_event(materialization(session_id, {}, current_settings()))
    factory.rows(
        "UPDATE heimdall.feature_states SET reported_at = now(), registered_at = now() "
        "WHERE recording_session_id = :id RETURNING 1",
        id=session_id,
    )


def test_people_may_run_the_checks_and_what_is_reported_without_a_run_is_their_state_too(
    dagster: Dagster, factory: SessionFactory
) -> None:
    factory.add()
    assets = [feature_coverage, receiver_health, training_samples, *asset_checks]
    result = materialize(
        assets,
        selection=AssetSelection.checks(*asset_checks),
        instance=dagster.instance,
        resources={"heimdall": Heimdall()},
    )
    assert result.success

    def failed() -> set[str]:
        keys = [check.key for check in CHECKS]
        records = dagster.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        assert records.keys() == set(keys)
        return {key.name for key, item in records.items() if item.status == AssetCheckExecutionRecordStatus.FAILED}

    assert failed() == {"coverage_is_high", "pending_is_young"}
    factory.rows("DELETE FROM heimdall.recording_sessions RETURNING 1")
    for event in evaluations(Heimdall(), dagster.instance):
        dagster.instance.report_runless_asset_event(event)
    assert failed() == set()
