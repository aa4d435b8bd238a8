"""Recordings that are ingested again with another description: what is corrected, named, refused or left."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from heimdall_assets.db import locks, receivers, staleness
from heimdall_assets.db.engine import transaction
from heimdall_assets.extraction import extract_session
from heimdall_assets.ingest import ingest
from heimdall_assets.ingest.sessions import NAMESPACE
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.db.rows import drop_session_link
from heimdall_assets_tests.test_ingest import (
    STATIONS,
    counts,
    error_of,
    files,
    noise,
    only,
    write_folder,
    write_kiwi,
    write_sigmf,
)

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.ingest import Ingested
    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

START = datetime(2024, 3, 2, 9, 20, 30, tzinfo=UTC)
ALPE, BRIC = STATIONS["receivers"]


class Folder:
    """A folder of two raw recordings, whose rate nothing but its description states."""

    def __init__(self, folder: Path, engine: Engine, settings: Settings) -> None:
        self.path, self.engine, self.settings = folder, engine, settings
        folder.mkdir(parents=True)
        for seed, name in enumerate("ab"):
            noise(seed, 20_000).tofile(folder / f"{name}.cf32")
        self.document: dict[str, Any] = json.loads(json.dumps(STATIONS).replace(".npy", ".cf32"))

    def ingest(self, *, correct_stations: bool = False, **changes: Any) -> Ingested:
        """Describe the folder, with changes that stay, and ingest it; keys that are changed to None are left out."""
        self.document = {k: v for k, v in {**self.document, **changes}.items() if v is not None}
        (self.path / "stations.json").write_text(json.dumps(self.document))
        return only(ingest([self.path], self.engine, self.settings, correct_stations=correct_stations))

    def placed(self, index: int, **changes: Any) -> list[dict[str, Any]]:
        """The receivers with one of them changed."""
        receivers = [dict(entry) for entry in self.document["receivers"]]
        receivers[index] |= changes
        return receivers


@pytest.fixture
def folder(engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path) -> Folder:
    return Folder(tmp_path / "in" / "hill", engine, settings)


def key_of(result: Ingested) -> UUID:
    assert result.error is None
    assert result.session_id is not None
    return result.session_id


def said(result: Ingested) -> list[tuple[Any, ...]]:
    return [(each.receiver, each.field, each.before, each.after) for each in result.corrections]


def stale_reason(engine: Engine, key: UUID) -> str | None:
    with transaction(engine) as connection:
        return staleness.stale_reason_of(connection, key, feature_version=FEATURE_VERSION)


MEASUREMENTS = (
    'SELECT "timestamp", created_at, iq_sample_rate, frequency_hz, iq_samples_count, duration_seconds, iq_data_format '
    "FROM heimdall.measurements ORDER BY iq_data_location"
)


@pytest.mark.parametrize(
    ("field", "changed", "stated"),
    [
        ("sample_rate_hz", 12_500, 12_500),
        ("center_frequency_hz", 433_920_000, 433_920_000),
        ("session_start", "2025-01-02T03:04:05+01:00", datetime(2025, 1, 2, 2, 4, 5, tzinfo=UTC)),
    ],
)
def test_what_is_corrected_is_named_stored_and_computed_with_once_asked(
    folder: Folder, engine: Engine, factory: SessionFactory, settings: Settings, field: str, changed: Any, stated: Any
) -> None:
    key = key_of(folder.ingest())
    extract_session(engine, key, settings)
    before, stored = counts(factory), files(factory.root)
    known = {"sample_rate_hz": 10_000, "center_frequency_hz": 145_500_000, "session_start": START}
    result = folder.ingest(**{field: changed})
    names = (None,) if field == "session_start" else ("Alpe", "Bric")
    assert said(result) == [(name, field, known[field], stated) for name in names]
    assert (key_of(result), result.is_new, result.sessions_stale, result.warnings) == (key, False, 1, ())
    assert (counts(factory), files(factory.root)) == (before, stored)
    now = {**known, field: stated}
    duration = 20_000 / now["sample_rate_hz"]
    row = (now["session_start"], now["session_start"], now["sample_rate_hz"], now["center_frequency_hz"], 20_000)
    assert factory.rows(MEASUREMENTS) == [(*row, duration, "cf32")] * 2
    sessions = factory.rows(
        "SELECT session_start, duration_seconds, updated_at > created_at FROM heimdall.recording_sessions"
    )
    assert sessions == [(now["session_start"], duration, True)]
    assert stale_reason(engine, key) == "corrected"
    assert folder.ingest().corrections == ()
    outcome = extract_session(engine, key, settings, stale=True)
    assert (outcome.computed, stale_reason(engine, key)) == (True, None)
    rates = "SELECT extraction_metadata -> 'receivers' -> 'Bric' -> 'sample_rate_hz' FROM heimdall.measurement_features"
    assert factory.scalar(rates) == now["sample_rate_hz"]


def test_a_session_that_failed_waits_again_and_one_that_waits_goes_on_waiting(
    folder: Folder, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = key_of(folder.ingest(sample_rate_hz=1_000_000_000))  # no second of it is there
    state = "SELECT state FROM heimdall.feature_states"
    assert not extract_session(engine, key, settings).has_features
    assert factory.scalar(state) in {"failed", "quarantined"}
    assert said(folder.ingest(sample_rate_hz=10_000))[0] == ("Alpe", "sample_rate_hz", 1_000_000_000, 10_000)
    assert factory.scalar(state) == "pending"
    assert folder.ingest(sample_rate_hz=20_000).sessions_stale == 0
    assert factory.scalar(state) == "pending"
    assert extract_session(engine, key, settings).has_features


def test_a_session_that_is_computed_is_waited_for(
    folder: Folder, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = key_of(folder.ingest())
    results: list[Ingested] = []
    with locks.session_lock(engine, key, timeout_seconds=5.0):
        waiting = threading.Thread(target=lambda: results.append(folder.ingest(sample_rate_hz=12_500)))
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive()
        assert factory.rows("SELECT DISTINCT iq_sample_rate FROM heimdall.measurements") == [(10_000,)]
    waiting.join(30.0)
    assert len(said(results[0])) == 2
    busy = Folder(folder.path.with_name("busy"), engine, settings.model_copy(update={"lock_timeout_seconds": 0.2}))
    with locks.session_lock(engine, key, timeout_seconds=5.0):
        result = busy.ingest(sample_rate_hz=13_000)
    assert error_of(result)[0] == "session_busy"


def test_what_is_not_stated_any_more_stays(folder: Folder, factory: SessionFactory, engine: Engine) -> None:
    key = key_of(folder.ingest(name="first"))
    before = factory.rows(MEASUREMENTS)
    nothing: dict[str, Any] = dict.fromkeys(
        ("sample_rate_hz", "center_frequency_hz", "session_start", "known_source", "name")
    )
    bare = [{"name": entry["name"], "file": entry["file"]} for entry in folder.document["receivers"]]
    result = folder.ingest(**nothing, receivers=bare)
    assert (key_of(result), said(result)) == (key, [])
    assert factory.rows(MEASUREMENTS) == before
    assert factory.rows(
        "SELECT session_name, latitude FROM heimdall.recording_sessions, heimdall.websdr_stations ORDER BY 2"
    ) == [
        ("first", 45.0),
        ("first", 45.2),
    ]


def test_a_name_is_corrected_and_nothing_is_stale_by_that(
    folder: Folder, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = key_of(folder.ingest())
    extract_session(engine, key, settings)
    result = folder.ingest(name="field day")
    assert (said(result), result.sessions_stale) == ([(None, "name", "hill", "field day")], 0)
    assert factory.scalar("SELECT session_name FROM heimdall.recording_sessions") == "field day"
    assert stale_reason(engine, key) is None


def test_another_source_is_the_sessions_and_makes_its_features_stale(
    folder: Folder, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = key_of(folder.ingest())
    extract_session(engine, key, settings)
    other = {**STATIONS["known_source"], "name": "other", "latitude": 44.0}
    result = folder.ingest(known_source=other)
    assert said(result) == [(None, "known_source", "beacon, 145500000 Hz", "other, 145500000 Hz")]
    assert (result.sessions_stale, stale_reason(engine, key)) == (1, "other_truth")
    extract_session(engine, key, settings, stale=True)
    assert factory.scalar("SELECT tx_latitude FROM heimdall.measurement_features") == 44.0
    assert stale_reason(engine, key) is None


def test_a_source_that_is_there_is_not_moved_and_a_warning_names_both_places(
    folder: Folder, factory: SessionFactory
) -> None:
    folder.ingest()
    result = folder.ingest(known_source={**STATIONS["known_source"], "longitude": 8.25})
    (warning,) = result.warnings
    assert warning == (
        'the known source "beacon" stays at 45.1 N 7.6 E, not at 45.1 N 8.25 E: other sessions depend on it'
    )
    assert factory.scalar("SELECT longitude FROM heimdall.known_sources") == 7.6


# --- places of stations


def test_a_station_is_not_moved_unasked_and_nothing_of_the_folder_is_changed(
    folder: Folder, factory: SessionFactory
) -> None:
    folder.ingest()
    before = factory.rows(MEASUREMENTS)
    result = folder.ingest(sample_rate_hz=12_500, receivers=folder.placed(1, latitude=-45.25))
    text = 'receiver "Bric" stands at 45.2 N 7.8 E, not at -45.25 N 7.8 E: --correct-stations changes what is stored'
    assert error_of(result) == ("station_elsewhere", text)
    assert factory.rows(MEASUREMENTS) == before
    assert factory.scalar("SELECT latitude FROM heimdall.websdr_stations WHERE name = 'Bric'") == 45.2


def test_a_new_session_does_not_move_a_station_either_and_leaves_nothing(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    factory.rows("INSERT INTO heimdall.websdr_stations (name, latitude, longitude) VALUES ('Alpe', 1, 2) RETURNING 1")
    folder = write_folder(tmp_path / "in")
    reason, message = error_of(only(ingest([folder], engine, settings)))
    assert (reason, message.startswith('receiver "Alpe" stands at 1 N 2 E, not at 45 N 7.3 E')) == (
        "station_elsewhere",
        True,
    )
    assert (counts(factory), files(factory.root)) == ([1, 0, 0, 0], set())
    result = only(ingest([folder], engine, settings, correct_stations=True))
    assert [each.field for each in result.corrections] == ["latitude", "longitude", "altitude_asl"]
    assert result.is_new
    stored = factory.rows("SELECT latitude, longitude, altitude_asl FROM heimdall.websdr_stations WHERE name = 'Alpe'")
    assert stored == [(45.0, 7.3, 1200)]


def test_moving_a_station_makes_its_sessions_stale_and_no_others_and_moving_it_back_takes_that_back(
    folder: Folder, engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    key = key_of(folder.ingest())
    other = key_of(only(ingest([write_kiwi(tmp_path)], engine, settings)))
    shared = write_folder(tmp_path / "shared", receivers=[{**BRIC, "file": "b.npy"}])
    third = key_of(only(ingest([shared], engine, settings)))
    for each in (key, other, third):
        extract_session(engine, each, settings)
    result = folder.ingest(correct_stations=True, receivers=folder.placed(1, longitude=9.5))
    assert said(result) == [("Bric", "longitude", 7.8, 9.5)]
    assert result.sessions_stale == 2
    assert [stale_reason(engine, each) for each in (key, third, other)] == ["station_place", "station_place", None]
    with transaction(engine) as connection:
        receivers.set_settings(connection, "Bric", datetime(1970, 1, 1, tzinfo=UTC), calibration_db=1.0)
    assert stale_reason(engine, key) == "station_place"
    folder.ingest(correct_stations=True, receivers=folder.placed(1, longitude=7.8))
    assert [stale_reason(engine, each) for each in (key, third)] == ["receiver_settings", "receiver_settings"]
    with transaction(engine) as connection:
        receivers.remove_settings(connection, "Bric", datetime(1970, 1, 1, tzinfo=UTC))
    assert [stale_reason(engine, each) for each in (key, third)] == [None, None]
    folder.ingest(correct_stations=True, receivers=folder.placed(1, longitude=9.5))
    extract_session(engine, key, settings, stale=True)
    assert stale_reason(engine, key) is None
    query = """
        SELECT r -> 'rx_lon' FROM heimdall.measurement_features, unnest(receiver_features) r
        WHERE r ->> 'rx_id' = 'Bric' AND recording_session_id = :id"""
    assert factory.rows(query, id=key) == [(9.5,)]


def test_features_that_are_stored_after_a_station_moved_are_marked(
    folder: Folder, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = key_of(folder.ingest())
    extract_session(engine, key, settings)
    factory.rows(
        "UPDATE heimdall.measurement_features SET receiver_features[1] = receiver_features[1] || "
        "'{\"rx_lat\": 1}' RETURNING 1"
    )
    with transaction(engine) as connection:
        assert connection.scalar(sa.select(sa.type_coerce(staleness.mark_of(key, None), sa.Text))) == "station_place"


def test_a_place_that_was_not_known_is_taken_over(folder: Folder, engine: Engine, factory: SessionFactory) -> None:
    complete = folder.placed(0)
    folder.ingest(receivers=[{"name": "Alpe", "file": "a.cf32"}, folder.document["receivers"][1]])
    result = folder.ingest(receivers=complete)
    assert said(result) == [
        ("Alpe", "latitude", None, 45.0),
        ("Alpe", "longitude", None, 7.3),
        ("Alpe", "altitude_asl", None, 1200),
    ]


@pytest.mark.parametrize(("stored", "stated"), [(-180.0, 180.0), (7.3, 7.3000004), (179.9999999, -180.0)])
def test_the_same_place_in_other_digits_is_the_same(folder: Folder, stored: float, stated: float) -> None:
    folder.ingest(receivers=folder.placed(0, longitude=stored))
    assert said(folder.ingest(receivers=folder.placed(0, longitude=stated))) == []


# --- rows of others


def test_measurements_of_other_services_are_left_and_named(
    folder: Folder, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = key_of(folder.ingest())
    (row,) = factory.rows(
        'INSERT INTO heimdall.measurements ("timestamp", websdr_station_id, recording_session_id, iq_data_location, '
        "iq_sample_rate, frequency_hz, created_at) SELECT :at, id, :key, 'theirs.npy', 8000, 1, :at "
        "FROM heimdall.websdr_stations WHERE name = 'Alpe' RETURNING id",
        key=key,
        at=START,
    )
    result = folder.ingest(sample_rate_hz=12_500, session_start="2024-03-02T09:20:40Z")
    assert result.warnings == (f'measurement {row[0]} of "Alpe" is not of this folder: it stays as it is',)
    theirs = f"SELECT \"timestamp\", iq_sample_rate FROM heimdall.measurements WHERE id = '{row[0]}'"
    assert factory.rows(theirs) == [(START, 8000)]
    assert [each[0] for each in said(result)] == [None, "Alpe", "Bric"]


def test_columns_that_only_others_know_survive_a_new_start_and_updated_at_is_touched(
    folder: Folder, engine: Engine, factory: SessionFactory
) -> None:
    folder.ingest()
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    with transaction(engine) as connection:
        for table in ("measurements", "websdr_stations"):
            connection.exec_driver_sql(
                f"ALTER TABLE heimdall.{table} ADD COLUMN updated_at timestamptz DEFAULT '2020-01-01Z', "
                "ADD COLUMN \"Odd name\" jsonb DEFAULT '{\"a\": [1, null]}', ADD COLUMN raw bytea DEFAULT '\\x00ff', "
                "ADD COLUMN twice bigint GENERATED ALWAYS AS (length(id::text) * 2) STORED"
            )
        connection.exec_driver_sql("UPDATE heimdall.measurements SET signal_strength_db = 0.30000000000000004")
        connection.exec_driver_sql(
            "UPDATE heimdall.recording_sessions SET session_end = session_start + interval '2 s'"
        )
    folder.ingest(
        session_start="2031-03-02T09:20:30.123456Z", correct_stations=True, receivers=folder.placed(0, latitude=1)
    )
    rows = factory.rows(
        'SELECT signal_strength_db, "Odd name", raw, twice, updated_at > :then, "timestamp" FROM heimdall.measurements',
        then=long_ago,
    )
    start = datetime(2031, 3, 2, 9, 20, 30, 123456, tzinfo=UTC)
    assert rows == [(0.30000000000000004, {"a": [1, None]}, b"\x00\xff", 72, True, start)] * 2
    ends = factory.rows("SELECT session_end - session_start FROM heimdall.recording_sessions")
    assert ends == [(timedelta(seconds=2),)]
    touched = "SELECT count(*) FROM heimdall.websdr_stations WHERE updated_at > '2020-01-01Z'"
    assert factory.scalar(touched) == 1


def test_a_new_start_moves_rows_from_one_piece_of_a_partitioned_table_to_another(
    folder: Folder, engine: Engine, factory: SessionFactory
) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql("""
            ALTER TABLE heimdall.measurements RENAME TO plain;
            CREATE TABLE heimdall.measurements (LIKE heimdall.plain INCLUDING DEFAULTS, PRIMARY KEY ("timestamp", id))
            PARTITION BY RANGE ("timestamp");
            CREATE TABLE heimdall.new (LIKE heimdall.measurements INCLUDING DEFAULTS);
            ALTER TABLE heimdall.new DROP COLUMN duration_seconds, ADD COLUMN duration_seconds double precision;
            CREATE TABLE heimdall.old PARTITION OF heimdall.measurements
            FOR VALUES FROM ('2000-01-01Z') TO ('2025-01-01Z');
            ALTER TABLE heimdall.measurements ATTACH PARTITION heimdall.new
            FOR VALUES FROM ('2025-01-01Z') TO ('2099-01-01Z')""")
    folder.ingest()
    pieces = "SELECT (SELECT count(*) FROM heimdall.old), (SELECT count(*) FROM heimdall.new)"
    assert factory.rows(pieces) == [(2, 0)]
    before = factory.rows(MEASUREMENTS)
    folder.ingest(session_start="2025-06-01T00:00:00Z")
    assert factory.rows(pieces) == [(0, 2)]
    assert [row[2:] for row in factory.rows(MEASUREMENTS)] == [row[2:] for row in before]
    folder.ingest(session_start="2024-06-01T00:00:00Z", sample_rate_hz=5_000)
    assert factory.rows(pieces) == [(2, 0)]


def test_a_new_start_keeps_measurements_in_the_window_where_nothing_else_links_them(
    folder: Folder, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    with transaction(engine) as connection:
        drop_session_link(connection)
    key = key_of(folder.ingest())
    assert extract_session(engine, key, settings).summary["receivers"] == "2 of 2"
    assert [each[1] for each in said(folder.ingest(session_start="2021-01-01T00:00:00Z"))] == ["session_start"]
    assert extract_session(engine, key, settings, stale=True).summary["receivers"] == "2 of 2"


# --- other folders of the same recordings


def test_a_folder_with_a_receiver_more_or_less_is_another_session_and_the_first_is_named(
    folder: Folder, engine: Engine, factory: SessionFactory
) -> None:
    key = key_of(folder.ingest())
    both = folder.document["receivers"]
    fewer = folder.ingest(receivers=both[:1])
    assert (fewer.is_new, fewer.session_id == key) == (True, False)
    assert fewer.warnings == (
        f'session {key} holds the same recordings of "Alpe": `heimdall ignore {key}` takes it out of the work list',
    )
    assert folder.ingest(receivers=both).warnings == ()


def test_a_recording_that_is_gone_is_brought_again(
    folder: Folder, engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = key_of(folder.ingest())
    location = factory.scalar("SELECT min(iq_data_location) FROM heimdall.measurements")
    (factory.root / location).unlink()
    assert said(folder.ingest()) == []  # where it lay before, since that is made of its content
    assert (factory.root / location).exists()
    inside = factory.root / "2024"
    inside.mkdir()
    for path in folder.path.iterdir():
        path.rename(inside / path.name)
    for path in (factory.root / "ingested").rglob("*.cf32"):
        path.unlink()
    result = only(ingest([inside], engine, settings))
    assert [(each.receiver, each.field, each.after) for each in result.corrections] == [
        ("Alpe", "location", "2024/a.cf32"),
        ("Bric", "location", "2024/b.cf32"),
    ]
    assert extract_session(engine, key, settings).summary["receivers"] == "2 of 2"


@pytest.mark.parametrize("is_inside", [False, True])
def test_the_metadata_of_a_sigmf_recording_may_be_corrected(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path, is_inside: bool
) -> None:
    meta = write_sigmf(factory.root if is_inside else tmp_path)
    key = key_of(only(ingest([meta], engine, settings)))
    extract_session(engine, key, settings)
    text = meta.read_text().replace("10000.0", "8000.0").replace("2024-03-02T10", "2024-03-02T11")
    meta.write_text(text.replace("7000000.0", "7100000.0"))
    result = only(ingest([meta.with_suffix(".sigmf-data")], engine, settings))
    assert (key_of(result), result.is_new, result.sessions_stale) == (key, False, 1)
    fields = {"session_start", "sample_rate_hz", "center_frequency_hz", *([] if is_inside else ["location"])}
    assert {each.field for each in result.corrections} == fields
    extract_session(engine, key, settings, stale=True)
    rates = (
        "SELECT extraction_metadata -> 'receivers' -> 'file:one' -> 'sample_rate_hz' FROM heimdall.measurement_features"
    )
    assert factory.scalar(rates) == 8000.0
    assert only(ingest([meta], engine, settings)).corrections == ()


def test_a_sigmf_session_of_a_former_release_is_known(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    meta = write_sigmf(tmp_path)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (meta, meta.with_suffix(".sigmf-data"))]
    former = uuid.uuid5(NAMESPACE, f"\0{hashlib.sha256(''.join(digests).encode()).hexdigest()}")
    only(ingest([meta], engine, settings))
    factory.rows(
        "UPDATE heimdall.measurements SET recording_session_id = NULL, id = :id RETURNING 1",
        id=uuid.uuid5(former, "file:one"),
    )
    factory.rows("UPDATE heimdall.recording_sessions SET id = :id RETURNING 1", id=former)
    factory.rows("UPDATE heimdall.measurements SET recording_session_id = :id RETURNING 1", id=former)
    result = only(ingest([meta], engine, settings))
    assert (result.session_id, result.is_new, result.corrections, result.warnings) == (former, False, (), ())


def test_a_rate_that_the_recording_itself_states_wins_and_that_is_said(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    write_kiwi(tmp_path)
    (path,) = tmp_path.glob("*.wav")
    entry = {"name": "K", "file": path.name}
    (tmp_path / "stations.json").write_text(json.dumps({"receivers": [entry], "sample_rate_hz": 48_000}))
    (warning,) = only(ingest([tmp_path], engine, settings)).warnings
    assert warning.startswith(f"{path.name}: it states 12001")
    assert warning.endswith(" Hz, which is used, not sample_rate_hz=48000")


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "1601-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_the_time_of_a_clock_that_was_never_set_is_not_used(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path, time: str
) -> None:
    meta = write_sigmf(tmp_path)
    meta.write_text(meta.read_text().replace("2024-03-02T10:20:30Z", time))
    result = only(ingest([meta], engine, settings))
    assert result.warnings[0] == f"one.sigmf-meta: its start, {time.replace('Z', '+00:00')}, is not used"
    assert factory.scalar("SELECT session_start > '2020-01-01Z' FROM heimdall.recording_sessions")


VALUES = st.fixed_dictionaries(
    {
        "sample_rate_hz": st.integers(1_000, 2**31 - 1),
        "center_frequency_hz": st.integers(1, 10**15),
        "session_start": st.integers(0, 2**32 - 1).map(
            lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
        ),
        "latitude": st.floats(-90, 90),
        "longitude": st.floats(-180, 180),
        "altitude_asl": st.floats(-1e6, 1e6),
    }
)


@examples(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=VALUES)
def test_whatever_is_stated_is_stored_at_once_and_stays(
    folder: Folder, engine: Engine, factory: SessionFactory, values: dict[str, Any]
) -> None:
    place = {name: values.pop(name) for name in ("latitude", "longitude", "altitude_asl")}
    result = folder.ingest(correct_stations=True, receivers=folder.placed(0, **place), **values)
    assert result.error is None
    again = folder.ingest()
    assert (again.corrections, again.error) == ((), None)
    start = datetime.fromisoformat(values["session_start"]).replace(tzinfo=UTC)
    rows = factory.rows(MEASUREMENTS)
    assert [(row[0], *row[2:4]) for row in rows] == [
        (start, values["sample_rate_hz"], values["center_frequency_hz"])
    ] * 2
    assert np.isclose(
        factory.scalar("SELECT latitude FROM heimdall.websdr_stations WHERE name = 'Alpe'"),
        place["latitude"],
        atol=1e-6,
    )
