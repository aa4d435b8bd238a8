"""`heimdall stats` and `failures` on sessions in every state."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.db import discovery, tables
from heimdall_assets.db.engine import transaction
from heimdall_assets.extraction import extract_session
from heimdall_assets_tests.conftest import drop_database, make_database
from heimdall_assets_tests.factory import FIRST_START, GOOD, MISSING, TRUNCATED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import URL, Engine
    from typer.testing import Result

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

KEYS = [
    "total_recordings",
    "recordings_with_features",
    "recordings_without_features",
    "recordings_pending",
    "recordings_running",
    "recordings_failed",
    "recordings_quarantined",
    "recordings_partial",
    "recordings_without_iq",
    "recordings_ignored",
    "recordings_stale",
    "total_measurements",
    "measurements_with_features",
    "measurements_without_features",
    "coverage_percent",
    "computable_coverage_percent",
    "measurements_used",
    "oldest_pending_age_seconds",
]
NOWHERE = "postgresql://nobody:secret@127.0.0.1:1/nothing"

pytestmark = pytest.mark.usefixtures("environment")


def heimdall(*arguments: object) -> Result:
    """Run the command in this process, on a terminal of 200 columns."""
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


def document(*arguments: object) -> Any:
    """The JSON that a successful command prints, which prints nothing else."""
    result = heimdall(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


def add_foreign_row(engine: Engine, session_id: uuid.UUID, **values: Any) -> None:
    """A row as other code writes it."""
    row = {
        "recording_session_id": session_id,
        "timestamp": FIRST_START,
        "receiver_features": [{"rx_id": "RX1", "rx_lat": 45.0, "rx_lon": 7.0, "snr_db": {"mean": 8.3}}],
        "extraction_metadata": {"extraction_method": "recorded"},
        "overall_confidence": 0.5,
        **values,
    }
    with transaction(engine) as connection:
        connection.execute(insert(tables.measurement_features).values(row))


# --- stats


def test_stats_counts_every_session_in_exactly_one_state(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    done, partial, broken, missing = (
        factory.add((GOOD, GOOD)),
        factory.add((GOOD, TRUNCATED)),
        factory.add((TRUNCATED,)),
        factory.add((MISSING,)),
    )
    for session_id in (done, partial, broken, missing):
        extract_session(engine, session_id, settings)
    foreign, ignored = factory.add((GOOD, GOOD)), factory.add()
    add_foreign_row(engine, foreign)
    factory.add((None,))
    factory.add((GOOD,) * 4)
    factory.add(status="recording")
    with transaction(engine) as connection:
        discovery.discover(connection)
        connection.execute(
            sa.text("UPDATE heimdall.feature_states SET state = 'ignored' WHERE recording_session_id = :id"),
            {"id": ignored},
        )
    figures = document("stats")
    age_s = figures.pop("oldest_pending_age_seconds")
    assert 0 <= age_s < 60
    assert figures == {
        "total_recordings": 8,
        "recordings_with_features": 3,
        "recordings_without_features": 5,
        "recordings_pending": 1,
        "recordings_running": 0,
        "recordings_failed": 1,
        "recordings_quarantined": 1,
        "recordings_partial": 1,
        "recordings_without_iq": 1,
        "recordings_ignored": 1,
        "recordings_stale": 1,
        "total_measurements": 15,
        "measurements_with_features": 4,
        "measurements_without_features": 11,
        "coverage_percent": 37.5,
        "computable_coverage_percent": 50.0,
        "measurements_used": 4,
    }


def test_stats_of_an_empty_database_has_every_key_in_order() -> None:
    figures = document("stats")
    assert list(figures) == KEYS
    assert (figures["coverage_percent"], figures["computable_coverage_percent"]) == (0.0, 0.0)
    assert figures["oldest_pending_age_seconds"] is None
    assert set(figures.values()) == {0, None}


def test_stats_for_people_has_a_line_a_figure(factory: SessionFactory) -> None:
    factory.add()
    result = heimdall("stats")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = dict(line.rsplit(maxsplit=1) for line in map(str.strip, result.stdout.splitlines()))
    assert [name.replace(" ", "_") for name in lines] == KEYS
    assert (lines["total recordings"], lines["recordings pending"]) == ("1", "1")


def test_the_real_command_prints_one_document_and_nothing_else() -> None:
    code = "from heimdall_assets.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "stats", "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert list(json.loads(ended.stdout)) == KEYS


# --- failures


def test_failures_are_grouped_by_reason_the_most_frequent_first(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    broken = factory.add_many(3, (TRUNCATED,))
    (missing,) = factory.add_many(1, (MISSING,), minutes=10)
    factory.add((GOOD,), minutes=20)
    for session_id in (*broken, missing):
        extract_session(engine, session_id, settings, run_id="run-9")
    first, second = document("failures")
    assert (first["reason"], first["sessions"], first["quarantined"]) == ("truncated", 3, 3)
    assert (second["reason"], second["sessions"], second["quarantined"]) == ("not_found", 1, 0)
    assert first["example"]["session_id"] in {str(session_id) for session_id in broken}
    assert first["example"]["run_id"] == "run-9"
    assert second["example"]["session_id"] == str(missing)
    assert "no-such-file.npy does not exist" in second["example"]["message"]
    assert first["first_seen"] <= first["last_seen"]
    text = heimdall("failures")
    assert (text.exit_code, text.stderr) == (0, "")
    assert "truncated  3         3" in text.stdout
    assert str(missing) in text.stdout


def test_failures_of_a_healthy_database_are_none(factory: SessionFactory) -> None:
    factory.add()
    assert document("failures") == []
    assert heimdall("failures").stdout == "No session is failed.\n"


# --- the database

DATABASE_COMMANDS = [("stats",), ("failures",), ("show", str(uuid.uuid4())), ("ingest", "/nowhere")]


@pytest.mark.parametrize("words", DATABASE_COMMANDS)
def test_a_database_that_does_not_answer_is_one_line_and_exit_1(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", NOWHERE)
    result = heimdall(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("heimdall: PostgreSQL is not available: ")
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr
    as_json = heimdall(*words, "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["error"]["reason"] == "database_unavailable"


@pytest.fixture
def bare_database(server_url: URL) -> Iterator[URL]:
    """A database that nobody has upgraded."""
    url = make_database(server_url, "template1")
    yield url
    for name in (url.database, f"{url.database}_dagster"):
        drop_database(url.set(database=name))


@pytest.mark.parametrize("words", DATABASE_COMMANDS)
def test_a_database_that_was_never_upgraded_is_told_how_to_be(
    words: tuple[str, ...], bare_database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", bare_database.render_as_string(hide_password=False))
    result = heimdall(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    said = f"the database {bare_database.database} was never upgraded: run `heimdall db upgrade`"
    assert result.stderr == f"heimdall: {said}\n"


def test_a_database_that_is_upgraded_as_it_said_can_be_used(
    bare_database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", bare_database.render_as_string(hide_password=False))
    upgraded = document("db", "upgrade")
    assert upgraded["before"] is None
    assert document("db", "upgrade") == {"before": upgraded["after"], "after": upgraded["after"]}
    assert document("stats")["total_recordings"] == 0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEIMDALL_BATCH_SIZE", "0"),
        ("HEIMDALL_DATABASE_URL", "not a url"),
        ("HEIMDALL_DATABASE_URL", "postgresql://host"),
        ("HEIMDALL_RETRY_BASE_SECONDS", "soon"),
    ],
)
def test_a_bad_setting_is_exit_2_and_names_the_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    result = heimdall("stats")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"heimdall: {variable}")
    assert value in result.stderr
    assert result.stderr.count("\n") == 1


def test_debug_shows_where_an_error_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", NOWHERE)
    result = heimdall("stats", "--debug")
    assert result.exit_code == 1
    assert type(result.exception).__name__ == "DatabaseUnavailable"
