"""Runs of the asset over ranges and lists of sessions, in this process, on real PostgreSQL."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from dagster import TableMetadataValue
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db import tables
from heimdall_assets.db.engine import transaction
from heimdall_assets.defs.assets import measurements, recording_sessions
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.errors import DatabaseError, WrongDatabase
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.conftest import drop_database, make_database
from heimdall_assets_tests.factory import FIRST_START, GOOD, TRUNCATED

if TYPE_CHECKING:
    from dagster import AssetMaterialization, ExecuteInProcessResult
    from sqlalchemy.engine import URL

    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

METADATA = {
    "receivers",
    "receivers_detected",
    "mean_snr_db",
    "gdop",
    "overall_confidence",
    "seconds",
    "feature_version",
    "reasons",
    "by_receiver",
    "session",
}


def failure_of(result: ExecuteInProcessResult) -> str:
    """Description of the failure that ended the run's one step."""
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def table_of(made: AssetMaterialization) -> TableMetadataValue:
    """The table of a session's receivers."""
    value = made.metadata["by_receiver"]
    assert isinstance(value, TableMetadataValue)
    return value


def counts(factory: SessionFactory) -> dict[uuid.UUID, int]:
    """Session -> attempts."""
    query = "SELECT recording_session_id, count(*) FROM heimdall.feature_attempts GROUP BY 1"
    return {row[0]: row[1] for row in factory.rows(query)}


def add_foreign_row(factory: SessionFactory, session_id: uuid.UUID, **values: Any) -> None:
    """A row as other code writes it."""
    row = {
        "recording_session_id": session_id,
        "timestamp": FIRST_START,
        "receiver_features": [{"rx_id": "RX1", "rx_lat": 45.0, "rx_lon": 7.0, "snr_db": {"mean": 8.3}}],
        "extraction_metadata": {"extraction_method": "recorded"},
        "overall_confidence": 0.5,
        **values,
    }
    with transaction(factory.engine) as connection:
        connection.execute(insert(tables.measurement_features).values(row))


# --- ranges


def test_of_a_range_with_one_broken_session_exactly_this_one_is_failed_and_the_others_are_materialized(
    dagster: Dagster, factory: SessionFactory
) -> None:
    ids = factory.add_many(10)
    factory.replace_file(ids[4], TRUNCATED)
    keys = dagster.register(ids)
    result = dagster.run_range(keys)
    assert failure_of(result) == f"1 of 10 sessions failed: {keys[4]} (truncated)"
    made = dagster.materializations()
    assert {event.partition for event in made} == {*keys} - {keys[4]}
    assert len(made) == 9
    assert all(set(event.metadata) == METADATA for event in made)
    figures = {name: value.value for name, value in made[0].metadata.items()}
    assert (figures["receivers"], figures["receivers_detected"], figures["reasons"]) == ("3 of 3", 3, "none")
    assert figures["feature_version"] == FEATURE_VERSION
    assert figures["mean_snr_db"] == pytest.approx(17, abs=0.5)
    by_receiver = table_of(made[0])
    assert [record.data["receiver"] for record in by_receiver.records] == ["RX1", "RX2", "RX3"]
    assert {name for record in by_receiver.records for name in record.data} == {
        column.name for column in by_receiver.schema.columns
    }
    assert by_receiver.records[0].data["snr_db"] == pytest.approx(figures["mean_snr_db"], abs=0.01)
    assert {record.data["error"] for record in by_receiver.records} == {None}
    assert figures["session"] == f"http://127.0.0.1:8010/sessions/{made[0].partition}"
    assert dagster.colours(keys) == ["MATERIALIZED"] * 4 + ["FAILED"] + ["MATERIALIZED"] * 5
    assert {factory.state(key) for key in ids} == {"done", "quarantined"}
    run_ids = {row[0] for row in factory.rows("SELECT run_id FROM heimdall.feature_attempts")}
    assert run_ids == {result.run_id}


def test_a_range_is_what_lies_between_two_keys_in_the_order_of_registration(
    dagster: Dagster, factory: SessionFactory
) -> None:
    ids = factory.add_many(5)
    keys = dagster.register([ids[3], ids[0], ids[4], ids[1], ids[2]])
    result = dagster.run_range(keys[1:4])
    assert result.success
    assert {event.partition for event in dagster.materializations()} == set(keys[1:4])
    assert set(counts(factory)) == {ids[0], ids[4], ids[1]}


def test_a_range_that_is_done_is_materialized_again_and_computed_not(dagster: Dagster, factory: SessionFactory) -> None:
    ids = factory.add_many(3)
    keys = dagster.register(ids)
    assert dagster.run_range(keys).success
    assert dagster.run_range(keys).success
    assert counts(factory) == dict.fromkeys(ids, 1)
    assert len(dagster.materializations()) == 6


def test_a_recompute_computes_what_is_done(dagster: Dagster, factory: SessionFactory) -> None:
    ids = factory.add_many(2)
    keys = dagster.register(ids)
    assert dagster.run_range(keys).success
    assert dagster.run_range(keys[:1], recompute=True).success
    assert counts(factory) == {ids[0]: 2, ids[1]: 1}
    history = factory.rows("SELECT recording_session_id FROM heimdall.measurement_features_history")
    assert history == [(ids[0],)]


def test_a_row_of_other_code_is_left_alone_unless_stale_ones_are_asked_for(
    dagster: Dagster, factory: SessionFactory
) -> None:
    ids = factory.add_many(2)
    for key in ids:
        add_foreign_row(factory, key)
    keys = dagster.register(ids)
    assert dagster.run_range(keys).success
    assert counts(factory) == {}
    assert dagster.colours(keys) == ["MATERIALIZED"] * 2
    assert dagster.run_range(keys[:1], stale=True).success
    assert dagster.run_list(keys[1:], stale=True).success
    assert counts(factory) == dict.fromkeys(ids, 1)
    assert len(factory.rows("SELECT 1 FROM heimdall.measurement_features_history")) == 2


def test_a_figure_that_is_no_number_is_undefined_in_the_metadata(dagster: Dagster, factory: SessionFactory) -> None:
    (session_id,) = factory.add_many(1)
    add_foreign_row(factory, session_id, gdop=float("nan"), mean_snr_db=float("inf"))
    assert dagster.run_range(dagster.register([session_id])).success
    (made,) = dagster.materializations()
    assert (made.metadata["gdop"].value, made.metadata["mean_snr_db"].value) == ("undefined", "undefined")


def test_a_receiver_that_failed_says_why_in_the_table_and_links_lead_where_the_dashboard_is(
    dagster: Dagster, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_DASHBOARD_URL", "https://heimdall.example/dash/")
    current_settings.cache_clear()
    session_id = factory.add((GOOD, TRUNCATED))
    assert dagster.run_range(dagster.register([session_id])).success
    (made,) = dagster.materializations()
    good, cut = (record.data for record in table_of(made).records)
    assert (good["error"], cut["error"], cut["snr_db"]) == (None, "truncated", None)
    assert made.metadata["session"].value == f"https://heimdall.example/dash/sessions/{session_id}"


def test_a_single_partition_is_a_run_too(dagster: Dagster, factory: SessionFactory) -> None:
    ids = factory.add_many(2)
    keys = dagster.register(ids)
    assert dagster.run("extract_features", tags={"dagster/partition": keys[1]}).success
    assert set(counts(factory)) == {ids[1]}
    assert dagster.colours(keys) == [None, "MATERIALIZED"]


def test_a_session_that_is_gone_or_not_completed_fails_alone(dagster: Dagster, factory: SessionFactory) -> None:
    good, recording = factory.add(), factory.add(status="recording")
    keys = dagster.register([good, uuid.uuid4(), recording])
    said = failure_of(dagster.run_range(keys))
    assert said.startswith("2 of 3 sessions failed: ")
    assert f"{keys[1]} (unknown_session)" in said
    assert f"{keys[2]} (not_completed)" in said
    assert dagster.colours(keys) == ["MATERIALIZED", "FAILED", "FAILED"]


# --- lists


def test_a_list_names_its_bad_ids_and_materializes_the_good_ones(dagster: Dagster, factory: SessionFactory) -> None:
    ids = factory.add_many(3)
    dagster.register(ids)
    nobody = uuid.uuid4()
    result = dagster.run_list([str(ids[2]), "session-1", str(ids[0]), str(nobody)])
    said = failure_of(result)
    assert said.startswith("2 of 4 sessions failed: ")
    assert "session-1 (unknown_session)" in said
    assert f"{nobody} (unknown_session)" in said
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    assert data.metadata["session-1"].value == "unknown_session: 'session-1' is not a session's UUID"
    assert {event.partition for event in dagster.materializations()} == {str(ids[0]), str(ids[2])}


def test_a_list_turns_red_keys_green_and_leaves_the_others_red(dagster: Dagster, factory: SessionFactory) -> None:
    ids = factory.add_many(3, ("late.npy",))
    keys = dagster.register(ids)
    assert not dagster.run_range(keys).success
    assert dagster.colours(keys) == ["FAILED"] * 3
    (factory.root / "late.npy").write_bytes((factory.root / GOOD).read_bytes())
    factory.replace_file(ids[1], "never.npy")
    assert failure_of(dagster.run_list(keys)) == f"1 of 3 sessions failed: {keys[1]} (not_found)"
    assert dagster.colours(keys) == ["MATERIALIZED", "FAILED", "MATERIALIZED"]


def test_an_empty_list_is_a_run_that_does_nothing(dagster: Dagster) -> None:
    assert dagster.run_list([]).success


# --- what the assets say of themselves, and the resource


def test_the_external_assets_name_their_tables_and_share_the_partitions() -> None:
    for spec, table in ((recording_sessions, "recording_sessions"), (measurements, "measurements")):
        assert spec.metadata["dagster/table_name"] == f"heimdall.{table}"
        names = {column.name for column in spec.metadata["dagster/column_schema"].columns}
        assert names == {column.name for column in getattr(tables, table).columns}
    assert recording_sessions.partitions_def is not None
    assert measurements.partitions_def is None


def test_the_resource_refuses_a_database_that_was_never_upgraded(
    server_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database(server_url, "template1")
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", url.render_as_string(hide_password=False))
    current_settings.cache_clear()
    with pytest.raises(WrongDatabase, match="was never upgraded: run `heimdall db upgrade`"), Heimdall().engine():
        pass
    drop_database(url)


def test_the_resource_refuses_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    current_settings.cache_clear()
    with pytest.raises(DatabaseError, match="PostgreSQL is not available"), Heimdall().engine():
        pass
