"""Registering recordings in a database that others made: mandatory columns, stations and refusals of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa

from heimdall_assets.db import registration
from heimdall_assets.db.engine import transaction
from heimdall_assets.errors import DatabaseError, DatabaseUnavailable, FactMissing
from heimdall_assets.ingest import ingest
from heimdall_assets_tests.test_ingest import STATIONS, counts, files, noise, only, write_folder
from heimdall_assets_tests.test_ingest_stores import bucket_keys

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory
    from heimdall_assets_tests.object_store import ObjectStore

MANDATORY = (
    "ALTER TABLE heimdall.websdr_stations ALTER url SET NOT NULL, ALTER latitude SET NOT NULL",
    "ALTER TABLE heimdall.websdr_stations ALTER is_active DROP DEFAULT, ADD country varchar(100) NOT NULL",
    "ALTER TABLE heimdall.websdr_stations ADD tags text[] NOT NULL, ADD extra jsonb NOT NULL",
    "ALTER TABLE heimdall.known_sources ALTER frequency_hz SET NOT NULL, ALTER source_type SET NOT NULL",
    "ALTER TABLE heimdall.known_sources ADD updated_at timestamptz NOT NULL, ALTER is_validated DROP DEFAULT",
    "ALTER TABLE heimdall.recording_sessions ALTER session_end SET NOT NULL, ALTER duration_seconds SET NOT NULL",
    "ALTER TABLE heimdall.recording_sessions ADD approval_status varchar(50) NOT NULL",
    "ALTER TABLE heimdall.measurements ALTER frequency_hz SET NOT NULL, ALTER signal_strength_db SET NOT NULL",
    "ALTER TABLE heimdall.measurements ALTER iq_sample_rate SET NOT NULL, ALTER iq_samples_count SET NOT NULL",
    "ALTER TABLE heimdall.measurements ALTER duration_seconds SET NOT NULL, ADD is_checked boolean NOT NULL",
)


def change(engine: Engine, *statements: str) -> None:
    """What others did to the tables."""
    with transaction(engine) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


@pytest.fixture
def strict(engine: Engine) -> Engine:
    """A database with many mandatory columns."""
    change(engine, *MANDATORY)
    return engine


def test_mandatory_columns_get_what_is_true(
    strict: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    result = only(ingest([write_folder(tmp_path / "in", center_frequency_hz=None)], strict, settings))
    assert result.is_new
    stations = factory.rows(
        "SELECT name, url, is_active, country, tags, extra FROM heimdall.websdr_stations ORDER BY 1"
    )
    assert [(name, *rest) for name, _, *rest in stations] == [
        (name, True, "unknown", [], {}) for name in ("Alpe", "Bric")
    ]
    assert all(url.startswith("file:ingested/") for _, url, *_ in stations)
    session = factory.rows(
        "SELECT session_end - session_start = '1 second', duration_seconds, approval_status "
        "FROM heimdall.recording_sessions"
    )
    assert session == [(True, 1.0, "unknown")]
    rows = factory.rows(
        "SELECT frequency_hz, iq_sample_rate, signal_strength_db, is_checked FROM heimdall.measurements"
    )
    levels = sorted(10 * np.log10(np.mean(np.abs(noise(seed)) ** 2)) for seed in (1, 101))
    assert [row[:2] for row in rows] == [(0, 10_000)] * 2
    assert sorted(row[2] for row in rows) == pytest.approx(levels)


def test_a_recording_that_cannot_be_read_is_registered_all_the_same(
    strict: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in")
    np.save(folder / "b.npy", np.zeros(10_000, np.complex64))
    whole = (folder / "a.npy").read_bytes()
    (folder / "a.npy").write_bytes(whole[: len(whole) // 2])
    result = only(ingest([folder], strict, settings))
    assert (result.is_new, result.num_measurements) == (True, 2)
    assert factory.rows("SELECT DISTINCT signal_strength_db FROM heimdall.measurements") == [(-200.0,)]


def test_what_is_not_known_is_not_made_up_and_the_refusal_names_the_column(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    change(engine, "ALTER TABLE heimdall.websdr_stations ALTER latitude SET NOT NULL")
    placeless = write_folder(tmp_path / "a", receivers=[{"name": "Nowhere", "file": "a.npy"}])
    results = list(ingest([placeless, write_folder(tmp_path / "b", seed=2)], engine, settings))
    assert isinstance(results[0].error, FactMissing)
    assert results[0].error.message.startswith("heimdall.websdr_stations.latitude is mandatory in this database")
    assert "Nowhere" in results[0].error.message
    assert results[1].is_new
    change(engine, "ALTER TABLE heimdall.measurements ADD snr_db double precision NOT NULL DEFAULT 1")
    change(engine, "ALTER TABLE heimdall.measurements ALTER snr_db DROP DEFAULT")
    before = counts(factory), files(factory.root)
    refused = only(ingest([write_folder(tmp_path / "c", seed=3)], engine, settings))
    assert refused.error is not None
    assert "heimdall.measurements.snr_db is mandatory" in refused.error.message
    assert (counts(factory), files(factory.root)) == before


def test_stations_that_are_there_are_found_before_anything_is_inserted(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    for receiver in STATIONS["receivers"]:
        factory.rows("INSERT INTO heimdall.websdr_stations (name) VALUES (:n) RETURNING 1", n=receiver["name"])
    # whatever an insert meets, none is tried; and no index stands behind the names
    change(
        engine,
        "ALTER TABLE heimdall.websdr_stations DROP CONSTRAINT websdr_stations_name_key",
        "ALTER TABLE heimdall.websdr_stations ADD CONSTRAINT none_new CHECK (false) NOT VALID",
    )
    without_places = [{"name": receiver["name"], "file": receiver["file"]} for receiver in STATIONS["receivers"]]
    assert only(ingest([write_folder(tmp_path / "in", receivers=without_places)], engine, settings)).is_new
    assert factory.rows("SELECT latitude FROM heimdall.websdr_stations") == [(None,), (None,)]


REFUSE = "ALTER TABLE heimdall.measurements ADD CONSTRAINT none_new CHECK (iq_data_location IS NULL)"


def test_an_ingest_that_the_database_refuses_leaves_no_file_and_no_folder_behind(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    change(engine, REFUSE)
    before = sorted(factory.root.rglob("*"))
    with pytest.raises(DatabaseError, match="none_new"):
        list(ingest([write_folder(tmp_path / "in")], engine, settings))
    assert (counts(factory), sorted(factory.root.rglob("*"))) == ([0, 0, 0, 0], before)


def test_files_that_were_there_before_a_failed_ingest_stay(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in")
    assert only(ingest([folder], engine, settings)).is_new
    before = files(factory.root)
    change(engine, "DELETE FROM heimdall.measurements", "DELETE FROM heimdall.recording_sessions", REFUSE)
    inside = write_folder(factory.root / "own", seed=5)
    with pytest.raises(DatabaseError):
        list(ingest([folder], engine, settings))
    with pytest.raises(DatabaseError):
        list(ingest([inside], engine, settings))
    assert files(factory.root) == before | {f"own/{name}" for name in ("a.npy", "b.npy", "stations.json")}


def test_objects_in_a_bucket_go_with_a_failed_ingest(
    engine: Engine, settings: Settings, object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    remote = settings.model_copy(update={"s3_endpoint_url": object_store.endpoint, "iq_root": f"s3://{bucket}/root"})
    change(engine, REFUSE)
    with pytest.raises(DatabaseError):
        list(ingest([write_folder(tmp_path / "in")], engine, remote))
    assert bucket_keys(object_store, bucket) == set()


def test_where_a_commit_may_have_happened_the_files_stay(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = registration.register_session

    def register_and_lose(connection: sa.Connection, session: Any) -> bool:
        is_new = registered(connection, session)
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        with transaction(engine) as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        return is_new

    monkeypatch.setattr("heimdall_assets.ingest.sessions.register_session", register_and_lose)
    with pytest.raises(DatabaseUnavailable):
        list(ingest([write_folder(tmp_path / "in")], engine, settings))
    assert len(files(factory.root)) == 2
