"""Ground truth that changed is put into the rows without their recordings, and nothing else of them changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import ledger, requests, staleness
from heimdall_assets.db.engine import transaction
from heimdall_assets.extraction import compute_session, extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.factory import GOOD, MISSING, SessionFactory

if TYPE_CHECKING:
    import uuid

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

TRUTH = ("tx_known", "tx_latitude", "tx_longitude", "tx_power_dbm", "gdop")


def add_source(factory: SessionFactory, latitude: float | None = 45.2) -> uuid.UUID:
    """A transmitter between the receivers."""
    key: uuid.UUID = factory.scalar(
        "INSERT INTO heimdall.known_sources (name, frequency_hz, latitude, longitude, power_dbm) "
        "VALUES ('tx', 145500000, :lat, 8.1, 40) RETURNING id",
        lat=latitude,
    )
    return key


def row_of(factory: SessionFactory, key: uuid.UUID) -> dict[str, Any]:
    """A session's row of features."""
    query = "SELECT to_jsonb(mf) FROM heimdall.measurement_features mf WHERE recording_session_id = :id"
    row: dict[str, Any] = factory.scalar(query, id=key)
    return row


def tick(engine: Engine) -> None:
    """The planner's look at everything."""
    with transaction(engine) as connection:
        ledger.catch_up(connection, since=None, is_full=True)


def stale_reason(engine: Engine, key: uuid.UUID) -> str | None:
    """Why a session is stale, by the tables."""
    with transaction(engine) as connection:
        return staleness.stale_reason_of(connection, key, feature_version=FEATURE_VERSION)


@pytest.fixture
def session(factory: SessionFactory, engine: Engine, settings: Settings) -> uuid.UUID:
    """A session with features and ground truth."""
    key = factory.add((GOOD,) * 5, known_source_id=add_source(factory))
    factory.rows("UPDATE heimdall.websdr_stations SET altitude_asl = 800 RETURNING 1")
    tick(engine)
    assert extract_session(engine, key, settings).computed
    return key


def without_recordings(factory: SessionFactory, how: str) -> None:
    """Take the IQ away, or the measurements too."""
    for path in factory.root.glob("*.npy"):
        path.unlink()
    if how == "measurements":
        factory.rows("DELETE FROM heimdall.measurements RETURNING 1")


@pytest.mark.parametrize("gone", ["nothing", "files", "measurements"])
@pytest.mark.parametrize("change", ["latitude = 46.5", "power_dbm = NULL", "latitude = NULL"])
def test_the_truth_is_renewed_as_a_recomputation_would_give_it(
    factory: SessionFactory, engine: Engine, settings: Settings, session: uuid.UUID, change: str, gone: str
) -> None:
    before = row_of(factory, session)
    twin = factory.add((GOOD,) * 5, minutes=9, known_source_id=factory.scalar("SELECT id FROM heimdall.known_sources"))
    factory.rows(f"UPDATE heimdall.known_sources SET {change} RETURNING 1")
    tick(engine)
    assert extract_session(engine, twin, settings).computed
    expected = row_of(factory, twin)
    without_recordings(factory, gone)
    assert stale_reason(engine, session) == "other_truth"
    outcome = extract_session(engine, session, settings, stale=True, run_id="r")
    assert (outcome.has_features, outcome.computed) == (True, True)
    after = row_of(factory, session)
    assert {name: after[name] for name in TRUTH} == {name: expected[name] for name in TRUTH}
    found = after["extraction_metadata"].pop("ground_truth")
    assert found == expected["extraction_metadata"]["ground_truth"]
    before["extraction_metadata"].pop("ground_truth")
    assert {name: value for name, value in after.items() if name not in TRUTH} == {
        name: value for name, value in before.items() if name not in TRUTH
    }
    assert stale_reason(engine, session) is None
    query = "SELECT feature_row ->> 'tx_latitude', replaced_by_attempt FROM heimdall.measurement_features_history"
    assert factory.rows(query) == [(str(before["tx_latitude"]), 2)]
    query = "SELECT outcome, run_id FROM heimdall.feature_attempts WHERE recording_session_id = :id ORDER BY number"
    assert factory.rows(query, id=session) == [("done", None), ("done", "r")]
    state = factory.rows(
        "SELECT state, stale_reason, feature_version, reserved_by FROM heimdall.feature_states "
        "WHERE recording_session_id = :id",
        id=session,
    )
    assert state == [("done", None, FEATURE_VERSION, None)]
    assert not extract_session(engine, session, settings, stale=True).computed


def make_older(engine: Engine, version: int) -> None:
    """Let all rows be of an older version of ours."""
    with transaction(engine) as connection:
        connection.execute(
            sa.text(
                "UPDATE heimdall.measurement_features SET extraction_metadata = "
                "jsonb_set(extraction_metadata, '{feature_version}', to_jsonb(CAST(:version AS int)))"
            ),
            {"version": version},
        )


def test_a_row_of_an_older_version_whose_recordings_are_gone_keeps_its_version_and_gets_the_truth(
    factory: SessionFactory, engine: Engine, settings: Settings, session: uuid.UUID
) -> None:
    make_older(engine, 1)
    factory.rows("UPDATE heimdall.known_sources SET latitude = 46.5 RETURNING 1")
    without_recordings(factory, "files")
    tick(engine)
    outcome = extract_session(engine, session, settings, stale=True)
    assert (outcome.has_features, outcome.computed) == (True, False)
    row = row_of(factory, session)
    assert (row["tx_latitude"], row["extraction_metadata"]["feature_version"]) == (46.5, 1)
    assert stale_reason(engine, session) == "older_version"
    assert factory.state(session) == "done"


def test_a_row_that_is_stale_for_two_reasons_is_computed_anew(
    factory: SessionFactory, engine: Engine, settings: Settings, session: uuid.UUID
) -> None:
    make_older(engine, 1)
    factory.rows("UPDATE heimdall.known_sources SET latitude = 46.5 RETURNING 1")
    assert extract_session(engine, session, settings, stale=True).computed
    row = row_of(factory, session)
    assert (row["tx_latitude"], row["extraction_metadata"]["feature_version"]) == (46.5, FEATURE_VERSION)
    assert stale_reason(engine, session) is None


def test_without_being_asked_for_a_stale_row_stays_as_it_is(
    factory: SessionFactory, engine: Engine, settings: Settings, session: uuid.UUID
) -> None:
    factory.rows("UPDATE heimdall.known_sources SET latitude = 46.5 RETURNING 1")
    assert not extract_session(engine, session, settings).computed
    assert row_of(factory, session)["tx_latitude"] == 45.2


def test_a_partial_session_is_tried_again_when_it_would_have_been(
    factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    key = factory.add((GOOD, GOOD, MISSING), known_source_id=add_source(factory))
    tick(engine)
    extract_session(engine, key, settings)
    query = "SELECT state, attempts, next_attempt_at, reason FROM heimdall.feature_states"
    slower = settings.model_copy(update={"retry_base_seconds": 900.0})
    factory.rows("UPDATE heimdall.feature_states SET next_attempt_at = now() + interval '1 hour' RETURNING 1")
    before = factory.rows(query)
    assert before[0][0] == "partial"
    factory.rows("UPDATE heimdall.known_sources SET latitude = 46.5 RETURNING 1")
    assert extract_session(engine, key, slower, stale=True).computed
    assert factory.rows(query) == before


def test_a_row_of_other_code_is_not_renewed(factory: SessionFactory, engine: Engine, settings: Settings) -> None:
    key = factory.add((MISSING,), known_source_id=add_source(factory))
    factory.rows(
        "INSERT INTO heimdall.measurement_features (recording_session_id, timestamp, receiver_features, "
        "extraction_metadata, overall_confidence) VALUES (:id, now(), '{}', '{}', 0.5) RETURNING 1",
        id=key,
    )
    tick(engine)
    extract_session(engine, key, settings, stale=True)
    assert row_of(factory, key)["tx_known"] is False


def test_the_schedule_asks_for_changed_truth_though_the_last_attempt_failed(
    factory: SessionFactory, engine: Engine, settings: Settings, session: uuid.UUID
) -> None:
    without_recordings(factory, "files")
    assert not extract_session(engine, session, settings, recompute=True).computed
    factory.rows("UPDATE heimdall.known_sources SET latitude = 46.5 RETURNING 1")
    tick(engine)
    with transaction(engine) as connection:
        assert requests.ask_for_stale(connection, 5, feature_version=FEATURE_VERSION) == 1


def test_truth_that_changes_while_a_session_is_computed_makes_its_row_stale(
    factory: SessionFactory, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_source(factory)
    key = factory.add((GOOD,))
    tick(engine)

    def compute(*arguments: Any, **keywords: Any) -> Any:
        factory.rows("UPDATE heimdall.known_sources SET longitude = 9 RETURNING 1")
        return compute_session(*arguments, **keywords)

    monkeypatch.setattr("heimdall_assets.extraction.session.compute_session", compute)
    assert extract_session(engine, key, settings).computed
    query = "SELECT state, stale_reason FROM heimdall.feature_states"
    assert factory.rows(query) == [("done", "other_truth")]
    assert stale_reason(engine, key) == "other_truth"
