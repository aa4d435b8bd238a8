"""Settings of receivers on their way into the figures, and features that a change of them makes stale."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from heimdall_assets.db import attempts, discovery, features, receivers, requests, states, work
from heimdall_assets.db.coverage import coverage_figures
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.progress import Progress, progress
from heimdall_assets.db.requests import Selection
from heimdall_assets.db.staleness import stale_reason_of
from heimdall_assets.dsp import analyze
from heimdall_assets.extraction import compute_session, extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.factory import FIRST_START, GOOD, MISSING, SAMPLE_RATE_HZ, TRUNCATED

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets.db.receivers import Change
    from heimdall_assets.records import Session, SessionFeatures
    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

MARK = "receiver_settings"
POWERS = ("rssi_dbm", "noise_floor_dbm", "psd_dbm_per_hz")
PASSBAND_HZ = (-3000.0, 2500.0)


def at(minutes: float) -> datetime:
    """Minutes after the first session's start."""
    return FIRST_START + timedelta(minutes=minutes)


def set_settings(engine: Engine, station: str, since: datetime = FIRST_START, **values: Any) -> Change:
    """Set what holds for a station."""
    with transaction(engine) as connection:
        return receivers.set_settings(connection, station, since, **values)


def row_of(factory: SessionFactory, key: UUID) -> tuple[dict[str, Any], dict[str, Any]]:
    """The receivers' objects by name, and what their inputs were."""
    [(objects, metadata)] = factory.rows(
        "SELECT receiver_features, extraction_metadata -> 'receivers' FROM heimdall.measurement_features "
        "WHERE recording_session_id = :id",
        id=key,
    )
    return {item["rx_id"]: item for item in objects}, metadata


def marks(factory: SessionFactory) -> dict[UUID, str]:
    """Why each marked session is stale."""
    return dict(
        factory.rows(
            "SELECT recording_session_id, stale_reason FROM heimdall.feature_states WHERE stale_reason IS NOT NULL"
        )
    )


def num_stale(engine: Engine) -> int:
    """recordings_stale; the selection has to say the same."""
    with transaction(engine) as connection:
        figures = coverage_figures(connection, feature_version=FEATURE_VERSION)
        found = requests.count(connection, Selection(stale=True), feature_version=FEATURE_VERSION)
    assert figures["recordings_stale"] == found
    return found


def ask_for_stale(engine: Engine) -> UUID:
    """A request for all that is stale, taken in."""
    with transaction(engine) as connection:
        key = requests.submit(connection, Selection(stale=True), requested_by="test")
        requests.take_in(connection, feature_version=FEATURE_VERSION)
    return key


def settled(engine: Engine, request: UUID) -> tuple[Progress, list[UUID]]:
    """How far a request is after a tick, and what would be planned for it."""
    with transaction(engine) as connection:
        requests.settle(connection, feature_version=FEATURE_VERSION)
        waiting = requests.next_sessions(connection, 100, feature_version=FEATURE_VERSION)
        return progress(connection, request), [row.recording_session_id for row in waiting]


# --- what they do to the figures


def test_a_calibration_shifts_what_is_in_dbm_exactly_and_nothing_else(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, GOOD))
    set_settings(engine, "RX2", calibration_db=42.5)
    extract_session(engine, key, settings)
    objects, metadata = row_of(factory, key)
    plain, calibrated = objects["RX1"], objects["RX2"]
    for name in set(plain) - {"rx_id", "rx_lat", "rx_lon", "notes", *POWERS}:
        assert calibrated[name] == plain[name]
    for name in POWERS:
        for key_ in ("mean", "min", "max"):
            assert calibrated[name][key_] == pytest.approx(plain[name][key_] + 12.5, abs=1e-9)
        assert calibrated[name]["std"] == plain[name]["std"]
    assert (plain["notes"]["calibrated"], calibrated["notes"]["calibrated"]) == (False, True)
    assert [metadata[name]["calibration_db"] for name in ("RX1", "RX2")] == [30.0, 42.5]


def test_a_passband_and_an_offset_reach_the_estimators(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    factory.write_files()
    offset = (np.load(factory.root / GOOD) + 2e-6).astype(np.complex64)
    np.save(factory.root / "offset.npy", offset)
    key = factory.add((GOOD, "offset.npy"))
    set_settings(engine, "RX1", passband_hz=PASSBAND_HZ)
    set_settings(engine, "RX2", remove_dc=True)
    extract_session(engine, key, settings)
    objects, metadata = row_of(factory, key)
    limited, cleaned = objects["RX1"], objects["RX2"]
    assert (limited["notes"]["passband_origin"], limited["notes"]["passband_hz"]) == ("given", list(PASSBAND_HZ))
    assert limited["notes"]["noise_bandwidth_hz"] == pytest.approx(5500.0, abs=80.0)  # of whole bands of 40 Hz
    assert cleaned["notes"]["dc_removed"]
    assert cleaned["rssi_dbm"]["mean"] == pytest.approx(-89.9, abs=0.1)  # the tone alone, without 6 dB more of offset
    for item, samples, more in (
        (limited, np.load(factory.root / GOOD), {"passband_hz": PASSBAND_HZ}),
        (cleaned, offset, {"remove_dc": True}),
    ):
        figures = analyze(samples, SAMPLE_RATE_HZ, **more)
        assert {name: item[name] for name in figures.features} == figures.features
    assert (metadata["RX1"]["passband_hz"], metadata["RX1"]["remove_dc"]) == (list(PASSBAND_HZ), False)
    assert (metadata["RX2"]["passband_hz"], metadata["RX2"]["remove_dc"]) == (None, True)


def test_a_response_reaches_the_estimators_and_the_notes(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, GOOD))
    droop = ((-5e3, -6.0), (0.0, 0.0), (5e3, -6.0))
    set_settings(engine, "RX1", response=droop)
    extract_session(engine, key, settings)
    objects, metadata = row_of(factory, key)
    corrected, plain = objects["RX1"], objects["RX2"]
    assert (corrected["notes"]["response_origin"], plain["notes"]["response_origin"] == "given") == ("given", False)
    figures = analyze(np.load(factory.root / GOOD), SAMPLE_RATE_HZ, response=droop)
    assert {name: corrected[name] for name in figures.features} == figures.features
    assert corrected["noise_floor_dbm"] != plain["noise_floor_dbm"]
    assert metadata["RX1"]["response"] == [list(pair) for pair in droop]
    assert metadata["RX2"]["response"] is None


def test_a_session_has_the_settings_that_held_when_it_started(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    keys = [factory.add((GOOD, GOOD), minutes=minutes) for minutes in (0, 10, 15, 20, 30)]
    set_settings(engine, "RX1", at(10), calibration_db=10.0)
    set_settings(engine, "RX1", at(20), passband_hz=PASSBAND_HZ)  # the calibration holds on
    set_settings(engine, "RX2", at(0), calibration_db=99.0)
    for key in keys:
        extract_session(engine, key, settings)
    used = [row_of(factory, key)[1]["RX1"] for key in keys]
    assert [item["calibration_db"] for item in used] == [30.0, 10.0, 10.0, 10.0, 10.0]
    assert [item["passband_hz"] for item in used] == [None, None, None, list(PASSBAND_HZ), list(PASSBAND_HZ)]
    assert num_stale(engine) == 0


def test_a_passband_outside_of_the_sampled_band_fails_that_receiver_and_its_correction_makes_it_stale(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, GOOD, TRUNCATED))
    set_settings(engine, "RX1", passband_hz=(50_000.0, 60_000.0))
    extract_session(engine, key, settings)
    objects, metadata = row_of(factory, key)
    assert objects["RX1"]["error"]["reason"] == "bad_parameter"
    assert metadata["RX1"]["passband_hz"] == [50_000.0, 60_000.0]
    assert set_settings(engine, "RX3", calibration_db=1.0).sessions_stale == 0  # its file is cut, whatever is set
    assert set_settings(engine, "RX1", passband_hz=PASSBAND_HZ).sessions_stale == 1
    assert extract_session(engine, key, settings, stale=True).summary["receivers"] == "2 of 3"


# --- what a change makes stale


def test_a_change_marks_exactly_the_sessions_whose_figures_it_changes(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    before, first, second, after = (factory.add((GOOD, GOOD), minutes=minutes) for minutes in (0, 10, 20, 30))
    without = factory.add((GOOD,), minutes=12)
    pending, broken = factory.add((GOOD, GOOD), minutes=13), factory.add((MISSING, TRUNCATED), minutes=14)
    foreign = factory.add((GOOD, GOOD), minutes=15)
    factory.rows(
        "INSERT INTO heimdall.measurement_features (recording_session_id, timestamp, receiver_features, "
        "extraction_metadata, overall_confidence) VALUES (:id, now(), ARRAY['{\"rx_id\": \"RX2\"}'::jsonb], '{}', 0.5) "
        "RETURNING 1",
        id=foreign,
    )
    set_settings(engine, "RX2", at(30), calibration_db=5.0)
    for key in (before, first, second, after, without, broken, foreign):
        extract_session(engine, key, settings)
    assert num_stale(engine) == 1  # other code's

    change = set_settings(engine, "RX2", at(10), calibration_db=7.0)
    assert (change.is_changed, change.sessions_stale, change.valid_until) == (True, 2, at(30))
    assert marks(factory) == {first: MARK, second: MARK}
    assert num_stale(engine) == 3
    again = set_settings(engine, "RX2", at(10), calibration_db=7.0)
    assert (again.is_changed, again.sessions_stale) == (False, 0)
    same = set_settings(engine, "RX2", at(20), calibration_db=7.0)  # a row more, and nothing that it changes
    assert (same.is_changed, same.sessions_stale, same.sessions_current) == (True, 0, 0)
    back = set_settings(engine, "RX2", at(20), calibration_db=30.0)
    assert (back.sessions_stale, back.sessions_current) == (0, 1)
    assert marks(factory) == {first: MARK}
    with transaction(engine) as connection:
        removed = receivers.remove_settings(connection, "RX2", at(20))
        assert (removed.sessions_stale, removed.settings.calibration_db) == (1, 7.0)
    assert marks(factory) == {first: MARK, second: MARK}
    extract_session(engine, pending, settings)
    assert marks(factory) == {first: MARK, second: MARK}
    assert row_of(factory, pending)[1]["RX2"]["calibration_db"] == 7.0


def test_rows_from_before_there_were_settings_have_the_defaults(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD,))
    extract_session(engine, key, settings)
    factory.rows(
        "UPDATE heimdall.measurement_features SET extraction_metadata = extraction_metadata #- "
        "'{receivers,RX1,calibration_db}' #- '{receivers,RX1,passband_hz}' #- '{receivers,RX1,remove_dc}' RETURNING 1"
    )
    assert set_settings(engine, "RX1", calibration_db=30.0).sessions_stale == 0
    assert set_settings(engine, "RX1", remove_dc=True).sessions_stale == 1


def test_stale_sessions_are_asked_for_computed_again_and_current_then(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key, other = factory.add((GOOD,)), factory.add((GOOD,), minutes=-1)
    for each in (key, other):
        extract_session(engine, each, settings)
    set_settings(engine, "RX1", calibration_db=42.5)
    request = ask_for_stale(engine)
    so_far, waiting = settled(engine, request)
    assert (so_far.remaining, waiting) == (1, [key])
    assert not extract_session(engine, key, settings).computed  # nobody asked
    assert num_stale(engine) == 1
    assert extract_session(engine, key, settings, stale=True).computed
    assert not extract_session(engine, key, settings, stale=True).computed
    so_far, waiting = settled(engine, request)
    assert (so_far.status, so_far.done, so_far.failed, waiting) == ("done", 1, 0, [])
    assert (num_stale(engine), marks(factory)) == (0, {})
    assert row_of(factory, key)[0]["RX1"]["rssi_dbm"]["mean"] == pytest.approx(-77.4, abs=0.1)


def lose_files(factory: SessionFactory, key: UUID) -> None:
    """The IQ files are gone."""
    factory.replace_file(key, MISSING)


def lose_one_file(factory: SessionFactory, key: UUID) -> None:
    """One receiver's IQ file is gone."""
    factory.rows(
        "UPDATE heimdall.measurements SET iq_data_location = :location WHERE id = "
        "(SELECT min(id::text)::uuid FROM heimdall.measurements WHERE recording_session_id = :id) RETURNING 1",
        id=key,
        location=MISSING,
    )


def lose_measurements(factory: SessionFactory, key: UUID) -> None:
    """The measurements themselves are gone."""
    factory.rows("DELETE FROM heimdall.measurements WHERE recording_session_id = :id RETURNING 1", id=key)


@pytest.mark.parametrize(
    ("lose", "outcome", "reason"),
    [
        (lose_files, "failed", "not_found"),
        (lose_one_file, "kept", "poorer"),
        (lose_measurements, "failed", "no_iq"),
    ],
)
def test_stale_features_that_cannot_be_computed_again_stay_marked_and_end_the_request_as_failed(
    engine: Engine,
    factory: SessionFactory,
    settings: Settings,
    lose: Callable[[SessionFactory, UUID], None],
    outcome: str,
    reason: str,
) -> None:
    key = factory.add((GOOD, GOOD))
    extract_session(engine, key, settings)
    row = row_of(factory, key)
    set_settings(engine, "RX1", calibration_db=42.5)
    lose(factory, key)
    request = ask_for_stale(engine)
    assert settled(engine, request)[1] == [key]
    assert extract_session(engine, key, settings, stale=True).has_features
    assert (factory.state(key), marks(factory), row_of(factory, key)) == ("done", {key: MARK}, row)
    [(number, tried, why, message)] = factory.rows(
        "SELECT number, outcome, reason, message FROM heimdall.feature_attempts WHERE number > 1"
    )
    assert (number, tried, why) == (2, outcome, reason)
    assert message
    so_far, waiting = settled(engine, request)
    assert (so_far.status, so_far.done, so_far.failed, waiting) == ("done", 0, 1, [])
    assert num_stale(engine) == 1  # whoever asks again tries again
    assert settled(engine, ask_for_stale(engine))[1] == [key]


# --- whatever happens meanwhile


def test_a_mark_outlives_a_lost_worker_an_ignored_session_and_one_that_is_recorded_again(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD,))
    extract_session(engine, key, settings)
    set_settings(engine, "RX1", calibration_db=42.5)
    with transaction(engine) as connection:
        attempts.begin_attempt(connection, key, run_id="lost", feature_version=FEATURE_VERSION)
        assert attempts.recover_lost(connection, states.RetryRule(5, 1.0, 1.0)) == [key]
        assert stale_reason_of(connection, key, feature_version=FEATURE_VERSION) == MARK
    assert num_stale(engine) == 1
    with transaction(engine) as connection:
        assert work.absorb(connection) == {key}
    assert (factory.state(key), marks(factory)) == ("done", {key: MARK})
    for mark in (MARK, "another reason"):
        factory.rows("UPDATE heimdall.feature_states SET stale_reason = :mark RETURNING 1", mark=mark)
        with transaction(engine) as connection:
            assert states.ignore(connection, [key]) == [key]
            assert states.ignore(connection, [key], undo=True) == [key]
        assert marks(factory) == {key: mark}
    with transaction(engine) as connection:
        discovery.forget(connection, key)
    assert num_stale(engine) == 1  # also before anybody discovers it
    with transaction(engine) as connection:
        discovery.discover(connection)
    assert marks(factory) == {key: MARK}


def test_another_reason_is_not_taken_away_by_a_setting(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD,))
    extract_session(engine, key, settings)
    factory.rows("UPDATE heimdall.feature_states SET stale_reason = 'another' RETURNING 1")
    assert set_settings(engine, "RX1", calibration_db=42.5).sessions_stale == 0  # it was stale
    assert set_settings(engine, "RX1", calibration_db=30.0).sessions_current == 0
    assert (num_stale(engine), marks(factory)) == (1, {key: "another"})


def test_a_row_that_other_code_writes_over_ours_is_stale_as_that(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD,))
    extract_session(engine, key, settings)
    set_settings(engine, "RX1", calibration_db=42.5)
    factory.rows("UPDATE heimdall.measurement_features SET extraction_metadata = '{}' RETURNING 1")
    with transaction(engine) as connection:
        assert stale_reason_of(connection, key, feature_version=FEATURE_VERSION) == "other_code"
    assert num_stale(engine) == 1
    with transaction(engine) as connection:
        work.absorb(connection)
    assert (num_stale(engine), marks(factory)) == (1, {})


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "again"])
def test_what_is_computed_while_a_setting_changes_is_stale_from_the_start(
    engine: Engine, factory: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    key = factory.add((GOOD,))
    if not is_first:
        extract_session(engine, key, settings)
    computed = []

    def compute_meanwhile(session: Session, *args: Any, **more: Any) -> SessionFeatures:
        result = compute_session(session, *args, **more)
        computed.append(set_settings(engine, "RX1", calibration_db=42.5).is_changed)
        return result

    with monkeypatch.context() as patch:
        patch.setattr("heimdall_assets.extraction.session.compute_session", compute_meanwhile)
        assert extract_session(engine, key, settings, recompute=True).computed
    assert computed == [True]
    assert row_of(factory, key)[1]["RX1"]["calibration_db"] == 30.0
    assert (factory.state(key), marks(factory), num_stale(engine)) == ("done", {key: MARK}, 1)
    assert extract_session(engine, key, settings, stale=True).computed
    assert row_of(factory, key)[1]["RX1"]["calibration_db"] == 42.5
    assert (marks(factory), num_stale(engine)) == ({}, 0)


def test_a_setting_waits_for_a_result_that_is_being_stored_and_marks_it_then(
    engine: Engine, factory: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = factory.add((GOOD,))
    changes: list[Change] = []
    thread = threading.Thread(target=lambda: changes.append(set_settings(engine, "RX1", calibration_db=42.5)))
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )

    def set_featured(connection: Connection, session_id: UUID, **values: Any) -> None:
        original(connection, session_id, **values)  # looked, and not committed yet
        thread.start()
        while factory.scalar(waiting) == 0 and thread.is_alive():
            time.sleep(0.01)
        assert thread.is_alive()

    original = states.set_featured
    monkeypatch.setattr(states, "set_featured", set_featured)
    assert extract_session(engine, key, settings).computed
    thread.join(timeout=60)
    assert [change.sessions_stale for change in changes] == [1]
    assert (marks(factory), num_stale(engine)) == ({key: MARK}, 1)


def test_settings_that_change_while_many_sessions_are_computed_leave_none_unmarked(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    """Whatever the order in which they come: a row is marked if and only if it holds other settings than those now."""
    keys = factory.add_many(12, (GOOD,))
    values = [10.0, 20.0, 30.0, 40.0]
    errors: list[BaseException] = []

    def guarded(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  # a thread's error has to be seen
            errors.append(error)

    threads = [
        threading.Thread(target=guarded, args=(lambda part=part: [extract_session(engine, k, settings) for k in part],))
        for part in (keys[:6], keys[6:])
    ]
    for thread in threads:
        thread.start()
    for value in values:
        set_settings(engine, "RX1", calibration_db=value)
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    used = {key: row_of(factory, key)[1]["RX1"]["calibration_db"] for key in keys}
    assert set(marks(factory)) == {key for key, value in used.items() if value != values[-1]}


def test_only_what_features_hold_counts_not_what_failed(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((TRUNCATED,))
    extract_session(engine, key, settings)
    assert set_settings(engine, "RX1", calibration_db=42.5).sessions_stale == 0
    with transaction(engine) as connection:
        stored = features.stored_features(connection, key)
    assert stored is not None
    assert stored.failed
    assert (num_stale(engine), marks(factory)) == (0, {})
