"""`heimdall show` of sessions in every state."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest

from heimdall_assets.db import discovery
from heimdall_assets.db.engine import transaction
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.web.session_view import read_session
from heimdall_assets_tests.cli.test_coverage import add_foreign_row, document, heimdall
from heimdall_assets_tests.factory import FIRST_START, GOOD, MISSING, TRUNCATED

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

pytestmark = pytest.mark.usefixtures("environment")


def test_show_of_a_done_session_has_its_row_receivers_state_and_attempts(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    factory.rows(
        "INSERT INTO heimdall.known_sources (name, frequency_hz, latitude, longitude) "
        "VALUES ('beacon', 145500000, 45.1, 7.6) RETURNING 1"
    )
    session_id = factory.add()
    extract_session(engine, session_id, settings, run_id="run-7")
    shown = document("show", session_id)
    assert shown["session_id"] == str(session_id)
    assert (shown["status"], shown["state"], shown["session_start"]) == ("completed", "done", FIRST_START.isoformat())
    assert shown["known_source"] == {
        "name": "beacon",
        "latitude": 45.1,
        "longitude": 7.6,
        "frequency_hz": 145_500_000,
        "found_by": "frequency",
    }
    assert shown["num_measurements"] == 3
    assert [receiver["rx_id"] for receiver in shown["receivers"]] == ["RX1", "RX2", "RX3"]
    first = shown["receivers"][0]
    assert (first["iq_data_location"], first["format"], first["num_chunks"]) == (GOOD, "npy", 5)
    assert first["frequency_offset_hz"]["mean"] == pytest.approx(1234.5, abs=0.05)
    assert shown["features"]["num_receivers_detected"] == 3
    assert shown["state_row"]["feature_version"] == FEATURE_VERSION
    ((attempt),) = shown["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["run_id"]) == (1, "done", "run-7")
    assert shown["errors"] == []

    text = heimdall("show", session_id)
    assert (text.exit_code, text.stderr) == (0, "")
    lines = text.stdout.splitlines()
    assert lines[0] == f"session {session_id}  session 01 00:00"
    assert lines[1] == "state   done, started 2025-06-01 00:00:00 UTC"
    assert lines[2] == "source  beacon at 45.1 N 7.6 E"
    assert lines[3].startswith("figures num_receivers_detected 3, mean_snr_db ")
    assert lines[5].split()[0] == "RX1"
    assert lines[5].split()[3] == "1234"  # the offset, four digits
    assert lines[8].startswith("attempt 1: done, ")
    assert lines[9] == "assumed RX1, RX2, RX3: no filter, flat response"


def test_show_of_a_partial_session_has_the_receivers_error(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((GOOD, TRUNCATED))
    extract_session(engine, session_id, settings)
    shown = document("show", session_id)
    assert shown["state"] == "partial"
    ((error),) = shown["errors"]
    assert (error["rx_id"], error["reason"]) == ("RX2", "truncated")
    assert shown["receivers"][1]["error"]["reason"] == "truncated"
    text = heimdall("show", session_id).stdout
    (line,) = [line for line in text.splitlines() if line.strip().startswith("RX2")]
    assert "truncated.npy has 40064 bytes" in line


def test_show_of_a_failed_session_has_the_reason_and_every_attempt(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add((MISSING, MISSING))
    for _ in range(2):
        extract_session(engine, session_id, settings)
    shown = document("show", session_id)
    assert shown["state"] == "failed"
    assert shown["features"]["extraction_failed"] is True
    ((error),) = shown["errors"]
    assert (error["rx_id"], error["reason"]) == (None, "not_found")
    assert [attempt["reason"] for attempt in shown["attempts"]] == ["not_found", "not_found"]
    assert [receiver["rx_id"] for receiver in shown["receivers"]] == ["RX1", "RX2"]
    text = heimdall("show", session_id).stdout
    assert "state   failed" in text
    assert "attempt 2: failed, " in text
    assert "not_found: all 2 receivers failed" in text


@pytest.mark.parametrize(
    ("locations", "status", "state"),
    [((GOOD,), "completed", "pending"), ((None,), "completed", "empty"), ((GOOD,), "recording", None)],
)
def test_show_of_a_session_that_nobody_looked_at_says_what_it_is(
    factory: SessionFactory, locations: tuple[str | None, ...], status: str, state: str | None
) -> None:
    session_id = factory.add(locations, status=status)
    shown = document("show", session_id)
    assert (shown["state"], shown["features"], shown["attempts"]) == (state, None, [])
    text = heimdall("show", session_id).stdout
    assert f"state   {state or 'not completed (recording)'}, started" in text


def test_show_of_a_row_of_other_code_is_done_as_in_stats_also_with_numbers_that_are_none(
    engine: Engine, factory: SessionFactory
) -> None:
    late, early = factory.add(), factory.add()
    add_foreign_row(engine, early, gdop=float("nan"))
    with transaction(engine) as connection:
        discovery.discover(connection)
    add_foreign_row(engine, late)  # after the session was found to be pending
    unseen = factory.add()
    add_foreign_row(engine, unseen)
    assert document("stats")["recordings_with_features"] == 3
    assert [document("show", key)["state"] for key in (late, early, unseen)] == ["done"] * 3
    assert document("show", early)["features"]["gdop"] is None
    assert "figures " in heimdall("show", early).stdout


def test_a_session_with_features_that_waits_for_its_new_inputs_is_pending_here_and_on_its_page(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add()
    extract_session(engine, session_id, settings)
    factory.rows(
        "UPDATE heimdall.feature_states SET state = 'pending', new_inputs = 'late_iq' "
        "WHERE recording_session_id = :id RETURNING 1",
        id=session_id,
    )
    assert document("show", session_id)["state"] == "pending"
    assert document("stats")["recordings_pending"] == 1
    with transaction(engine) as connection:
        assert read_session(connection, session_id, source_tolerance_hz=1000.0).state == "pending"


def test_show_of_an_unknown_session_is_one_line_and_exit_1() -> None:
    nobody = uuid.uuid4()
    result = heimdall("show", nobody)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"heimdall: there is no recording session {nobody}\n"
    as_json = heimdall("show", nobody, "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["error"]["reason"] == "unknown_session"


def test_show_of_what_is_no_uuid_says_so() -> None:
    result = heimdall("show", "session-1")
    assert result.exit_code == 1
    assert result.stderr == "heimdall: 'session-1' is not a session's UUID\n"
