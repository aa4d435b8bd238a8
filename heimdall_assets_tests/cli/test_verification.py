"""`heimdall verify`: a row that is what its recordings say, and every way in which it is not."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.cli.test_coverage import add_foreign_row
from heimdall_assets_tests.factory import GOOD, MISSING, NUM_SAMPLES, TRUNCATED

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from typer.testing import Result

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

OTHER = "other.npy"

pytestmark = pytest.mark.usefixtures("environment")


def verify(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["verify", *map(str, arguments)])


def findings(session_id: uuid.UUID) -> list[dict[str, Any]]:
    """What does not verify; the exit code says the same."""
    result = verify(session_id, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == (0 if document["verifies"] else 1)
    assert document["verifies"] == (not document["findings"])
    found: list[dict[str, Any]] = document["findings"]
    assert all(finding["message"].count("\n") == 0 for finding in found)
    return found


def kinds(found: list[dict[str, Any]]) -> set[tuple[str, str | None]]:
    """(kind, receiver) of findings."""
    return {(finding["kind"], finding["receiver"]) for finding in found}


def change(factory: SessionFactory, session_id: uuid.UUID, path: str, value: object) -> None:
    """Change a value in the first receiver's object."""
    factory.rows(
        "UPDATE heimdall.measurement_features SET receiver_features[1] = "
        "jsonb_set(receiver_features[1], CAST(:path AS text[]), CAST(:value AS jsonb)) "
        "WHERE recording_session_id = :id RETURNING 1",
        path=path,
        value=json.dumps(value),
        id=session_id,
    )


@pytest.fixture
def done(engine: Engine, factory: SessionFactory, settings: Settings) -> uuid.UUID:
    """A session of two receivers that was computed."""
    session_id = factory.add((GOOD, GOOD))
    assert extract_session(engine, session_id, settings).computed
    return session_id


def test_what_was_just_computed_verifies_and_nothing_is_stored(done: uuid.UUID, factory: SessionFactory) -> None:
    everything = (
        "SELECT mf::text, fs::text, fa::text FROM heimdall.measurement_features mf, heimdall.feature_states fs, "
    )
    everything += "heimdall.feature_attempts fa"
    before = factory.rows(everything)
    result = verify(done)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"session {done} verifies: 2 receivers, version {FEATURE_VERSION}\n"
    assert findings(done) == []
    assert factory.rows(everything) == before


def test_the_noise_of_single_precision_verifies_and_more_does_not(done: uuid.UUID, factory: SessionFactory) -> None:
    def rssi() -> float:
        query = "SELECT (receiver_features[1] #>> '{rssi_dbm,max}')::float8 FROM heimdall.measurement_features"
        return float(factory.scalar(query))

    true_dbm = rssi()
    change(factory, done, "{rssi_dbm,max}", true_dbm * (1 + 3e-7))
    assert findings(done) == []
    change(factory, done, "{rssi_dbm,max}", true_dbm + 0.01)
    (found,) = findings(done)
    assert (found["kind"], found["receiver"], found["feature"]) == ("figure", "RX1", "rssi_dbm")
    assert found["message"].startswith("RX1: rssi_dbm: max ")
    assert found["stored"] == {"max": pytest.approx(true_dbm + 0.01)}
    assert found["computed"] == {"max": pytest.approx(true_dbm)}


@pytest.mark.parametrize(
    ("path", "value", "feature"),
    [
        ("{multipath_delay_spread_us,mean}", 26_000.0, "multipath_delay_spread_us"),
        ("{snr_db,min}", None, "snr_db"),
        ("{signal_present}", None, "signal_present"),
        ("{zero_crossing_rate,std}", 0.1, "zero_crossing_rate"),
    ],
)
def test_a_figure_that_was_changed_or_taken_away_is_named(
    done: uuid.UUID, factory: SessionFactory, path: str, value: object, feature: str
) -> None:
    change(factory, done, path, value)
    assert [(found["receiver"], found["feature"]) for found in findings(done)] == [("RX1", feature)]


def test_figures_of_the_session_are_verified_too(done: uuid.UUID, factory: SessionFactory) -> None:
    factory.rows("UPDATE heimdall.measurement_features SET gdop = 1.5, tx_latitude = 45 RETURNING 1")
    assert [found["message"] for found in findings(done)] == [
        "gdop: 1.5 stored and null computed",
        "tx_latitude: 45 stored and null computed",
    ]


def test_a_replaced_file_is_found_by_its_identity_even_where_its_figures_are_the_same(
    done: uuid.UUID, factory: SessionFactory
) -> None:
    os.utime(factory.root / GOOD, ns=(1, 1))
    found = findings(done)
    assert kinds(found) == {("replaced", "RX1"), ("replaced", "RX2")}
    assert "etag " in found[0]["message"]


def test_a_file_of_other_content_is_found_by_its_figures_as_well(done: uuid.UUID, factory: SessionFactory) -> None:
    rng = np.random.default_rng(2)
    np.save(factory.root / GOOD, (rng.normal(size=(2 * NUM_SAMPLES, 2)) @ (1, 1j)).astype(np.complex64))
    found = findings(done)
    assert {("replaced", "RX1"), ("figure", "RX1"), ("figure", None)} <= kinds(found)
    assert f"samples {NUM_SAMPLES} then, {2 * NUM_SAMPLES} now" in found[0]["message"]


def test_measurements_that_moved_came_or_went_are_findings(done: uuid.UUID, factory: SessionFactory) -> None:
    (factory.root / OTHER).write_bytes((factory.root / GOOD).read_bytes())
    (station,) = (row[0] for row in factory.rows("SELECT id FROM heimdall.websdr_stations WHERE name = 'RX1'"))
    factory.rows(
        "UPDATE heimdall.measurements SET iq_data_location = :other WHERE websdr_station_id = :station RETURNING 1",
        other=OTHER,
        station=station,
    )
    (moved,) = findings(done)
    assert (moved["kind"], moved["receiver"]) == ("replaced", "RX1")
    assert f"location {GOOD} then, {OTHER} now" in moved["message"]
    factory.add((GOOD,) * 3, minutes=5)  # makes a third station
    factory.rows(
        "UPDATE heimdall.measurements m SET recording_session_id = :id FROM heimdall.websdr_stations st "
        "WHERE st.id = m.websdr_station_id AND st.name = 'RX3' RETURNING 1",
        id=done,
    )
    factory.rows(
        "DELETE FROM heimdall.measurements "
        "WHERE websdr_station_id = :station AND recording_session_id = :id RETURNING 1",
        station=station,
        id=done,
    )
    found = findings(done)
    assert {("additional", "RX3"), ("missing", "RX1")} <= kinds(found)


def test_a_receiver_that_cannot_be_read_any_more_and_one_that_can_now_are_findings(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((GOOD, TRUNCATED))
    assert extract_session(engine, session_id, settings).computed
    assert findings(session_id) == []  # partial as it was
    (factory.root / TRUNCATED).write_bytes((factory.root / GOOD).read_bytes())
    found = findings(session_id)
    assert ("failed", "RX2") in kinds(found)
    assert "RX2: failed then (truncated), and can be computed now" in [finding["message"] for finding in found]
    factory.rows(
        "UPDATE heimdall.measurements SET iq_data_location = 'gone' WHERE iq_data_location = :x RETURNING 1", x=GOOD
    )
    assert ("missing", "RX1") in kinds(findings(session_id))


def test_a_session_whose_recordings_are_all_gone_does_not_verify(done: uuid.UUID, factory: SessionFactory) -> None:
    factory.replace_file(done, MISSING)
    (found,) = findings(done)
    assert found["kind"] == "failed"
    assert found["message"].startswith("nothing can be computed now: all 2 receivers failed: not_found (2)")
    factory.rows("DELETE FROM heimdall.measurements RETURNING 1")
    assert kinds(findings(done)) == {("failed", None), ("missing", None)}


def test_other_settings_are_seen_in_the_chunks(done: uuid.UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_NUM_CHUNKS", "2")
    messages = [finding["message"] for finding in findings(done)]
    assert "RX1: chunks 5 then, 2 now" in messages


@pytest.mark.parametrize("version", [None, FEATURE_VERSION + 1])
def test_a_row_of_another_version_does_not_verify_and_says_why(
    done: uuid.UUID, factory: SessionFactory, version: int | None
) -> None:
    factory.rows(
        "UPDATE heimdall.measurement_features SET extraction_metadata = "
        "jsonb_set(extraction_metadata, '{feature_version}', CAST(:version AS jsonb)) RETURNING 1",
        version=json.dumps(version),
    )
    (found,) = findings(done)
    assert found["kind"] == "version"
    wrote = "other code wrote the row" if version is None else f"the row is of version {version}"
    assert found["message"].startswith(wrote)


def test_a_row_of_other_code_is_compared_as_far_as_it_goes(factory: SessionFactory, engine: Engine) -> None:
    session_id = factory.add((GOOD,))
    add_foreign_row(engine, session_id, receiver_features=[{"rx_id": "RX1", "snr_db": 8.3}, 3, None])
    result = verify(session_id)
    assert (result.exit_code, result.stderr) == (1, "")
    assert "RX1: snr_db: mean 8.3 stored and 17.0" in result.stdout
    assert result.stdout.startswith(f"session {session_id} does not verify:\n  other code wrote the row")


@pytest.mark.parametrize(
    ("session", "message"),
    [
        ("x", "'x' is not a session's UUID"),
        (str(uuid.UUID(int=1)), f"there is no recording session {uuid.UUID(int=1)}"),
    ],
)
def test_an_unknown_session_is_one_line_and_exit_1(session: str, message: str) -> None:
    result = verify(session)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"heimdall: {message}\n")


def test_a_session_without_features_says_so(factory: SessionFactory, engine: Engine, settings: Settings) -> None:
    waiting, broken = factory.add(), factory.add((TRUNCATED,))
    result = verify(waiting)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"heimdall: session {waiting} has no features: it is pending\n"
    extract_session(engine, broken, settings)
    result = verify(broken)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"heimdall: session {broken} has no features: truncated: all 1 receivers failed")
