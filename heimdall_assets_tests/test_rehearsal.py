"""The cut-over, rehearsed: an old database and its old writer, upgraded under it, both at work, then we alone."""

from __future__ import annotations

import json
import subprocess
import threading
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.sessions import classified
from heimdall_assets.db.suspects import current_sessions
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.embedded import dagster_environment
from heimdall_assets.processes import Processes
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.services import start_daemon
from heimdall_assets_tests.cli.test_running import HEIMDALL
from heimdall_assets_tests.conftest import drop_database, make_database, settings_for
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.factory import GOOD, SAMPLE_RATE_HZ, SessionFactory
from heimdall_assets_tests.test_adoption import OLD_TABLES, START, fill, foreign_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Engine

    from heimdall_assets.settings import Settings

NUM_OLD = 120
"""Sessions that are there when the cut-over begins; a tenth has no IQ data."""
NUM_FAILED = 5
"""Of these, the oldest, the old writer has given up; it never tries again."""
NUM_SYNTHETIC = 10
NUM_ARRIVING = 15
"""Sessions that complete in each step of the cut-over."""
PATIENCE_S = 150.0
"""For what takes the daemon a quarter of a minute on an idle machine."""

pytestmark = pytest.mark.timeout(600)  # a busy machine is no defect

# The questions and statements of the job that is replaced.
UNFEATURED = """
    SELECT rs.id, rs.session_start FROM heimdall.recording_sessions rs
    LEFT JOIN heimdall.measurements m
        ON m.created_at >= rs.created_at
       AND m.created_at <= rs.created_at + rs.duration_seconds * interval '1 second'
       AND m.iq_data_location IS NOT NULL
    LEFT JOIN heimdall.measurement_features mf ON mf.recording_session_id = rs.id
    WHERE rs.status = 'completed' AND mf.recording_session_id IS NULL
    GROUP BY rs.id, rs.session_start, rs.created_at
    HAVING count(m.id) > 0
    ORDER BY rs.created_at DESC LIMIT %s"""
UPSERT = """
    INSERT INTO heimdall.measurement_features
        (recording_session_id, timestamp, receiver_features, tx_known, extraction_metadata, overall_confidence,
         mean_snr_db, num_receivers_detected, extraction_failed, error_message)
    VALUES (%(id)s, %(start)s, CAST(%(receivers)s AS jsonb[]), false, '{"extraction_method": "recorded"}', 0.4, 8.0,
            1, %(failed)s, %(error)s)
    ON CONFLICT (recording_session_id) DO UPDATE
    SET receiver_features = excluded.receiver_features, extraction_metadata = excluded.extraction_metadata,
        overall_confidence = excluded.overall_confidence, mean_snr_db = excluded.mean_snr_db,
        num_receivers_detected = excluded.num_receivers_detected, extraction_failed = excluded.extraction_failed,
        error_message = excluded.error_message"""


@dataclass
class OldWriter:
    """The job that is replaced: looks for sessions without a row, works on a few, upserts; knows nothing of us.

    Attributes
    ----------
    limit : int
        It stores no more than so many until this is raised: slow machines change nothing of who does what.
    written : list of UUID
        Sessions whose features it stored, in order, each time that it did.
    errors : list of Exception
        What went wrong.
    """

    url: URL
    limit: int
    batch_size: int = 2
    pause_s: float = 0.05
    written: list[uuid.UUID] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="old writer")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the session that it is at."""
        self._stopped.set()
        self._thread.join()

    def wait_for(self, count: int) -> None:
        """Wait until it has stored so many; fails with what went wrong."""

        def has_stored() -> bool:
            assert self.errors == []
            return len(self.written) >= count

        wait_for(has_stored, "the old writer to be at work", poll_s=0.05)

    def write(self, connection: psycopg.Connection[Any], key: uuid.UUID, *, failed: bool = False) -> None:
        """Store one session's row, in a transaction of its own."""
        row = {
            "id": key,
            "start": START,
            "receivers": [] if failed else [json.dumps({"rx_id": "RX1", "snr_db": {"mean": 8.0}})],
            "failed": failed,
            "error": "timeout" if failed else None,
        }
        with connection.transaction():
            cursor = connection.execute(UPSERT, row)
        if cursor.rowcount != 1:
            raise AssertionError(f"{cursor.rowcount} rows were written for session {key}")
        if not failed:
            self.written.append(key)

    def connect(self) -> psycopg.Connection[Any]:
        """A connection as other code makes it."""
        url = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(url, autocommit=True)

    def _work(self) -> None:
        try:
            with self.connect() as connection:
                while not self._stopped.is_set():
                    for key, _ in connection.execute(UNFEATURED, (self.batch_size,)).fetchall():
                        self._stopped.wait(self.pause_s)  # it computes
                        if len(self.written) < self.limit:
                            self.write(connection, key)
                    self._stopped.wait(self.pause_s)
        except Exception as error:  # noqa: BLE001  # the rehearsal shows it
            self.errors.append(error)


@dataclass(frozen=True)
class Rehearsal:
    """An old database with its writer, and the settings with which we come to it."""

    engine: Engine
    settings: Settings
    writer: OldWriter

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        with transaction(self.engine) as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), parameters)]

    def versions(self) -> dict[uuid.UUID, int | None]:
        """Session -> version of its features, None for the old writer's; failed rows and synthetic ones left out."""
        found = self.rows(
            "SELECT recording_session_id, (extraction_metadata ->> 'feature_version')::int "
            "FROM heimdall.measurement_features JOIN heimdall.recording_sessions s ON s.id = recording_session_id "
            "WHERE NOT extraction_failed"
        )
        return dict(found)

    def done_by_us(self) -> list[uuid.UUID]:
        """Sessions that we stored features of, each time that we did."""
        return [
            key
            for (key,) in self.rows(
                "SELECT recording_session_id FROM heimdall.feature_attempts WHERE outcome IN ('done', 'partial')"
            )
        ]

    def arrive(self, first: int) -> list[uuid.UUID]:
        """Sessions complete while everything runs; the numbers follow those of ``fill``."""
        keys = [uuid.UUID(int=first + index + 1) for index in range(NUM_ARRIVING)]
        with transaction(self.engine) as connection:
            for index, key in enumerate(keys):
                start = START + timedelta(minutes=first + index)
                measured = {"at": start + timedelta(seconds=1), "location": GOOD, "rate": SAMPLE_RATE_HZ}
                connection.execute(
                    sa.text(
                        "INSERT INTO heimdall.recording_sessions (id, session_start, duration_seconds, status, "
                        "created_at, updated_at) VALUES (:id, :start, 5, 'completed', :start, clock_timestamp())"
                    ),
                    {"id": key, "start": start},
                )
                connection.execute(
                    sa.text(
                        'INSERT INTO heimdall.measurements ("timestamp", id, websdr_station_id, frequency_hz, '
                        "iq_data_location, iq_sample_rate, created_at) "
                        "SELECT :at, gen_random_uuid(), id, 145500000, :location, :rate, :at "
                        "FROM heimdall.websdr_stations"
                    ),
                    measured,
                )
        return keys


@pytest.fixture
def rehearsal(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """A database that has never seen us, with sessions whose recordings are there."""
    folder = tmp_path_factory.mktemp("cut")
    url = make_database(server_url, template="template0")
    settings = settings_for(url, folder)
    engine = open_engine(heimdall_url(settings))
    with transaction(engine) as connection:
        connection.execute(sa.text(OLD_TABLES))
    SessionFactory(engine, settings).write_files()
    yield Rehearsal(engine, settings, OldWriter(url, limit=20))
    engine.dispose()
    for name in (url.database, f"{url.database}_dagster"):
        drop_database(url.set(database=name))


def add_synthetic_rows(rehearsal: Rehearsal) -> list[tuple[Any, ...]]:
    """Rows without a session, as training code keeps them; their text."""
    insert = """
        INSERT INTO heimdall.measurement_features
            (recording_session_id, timestamp, receiver_features, extraction_metadata, overall_confidence)
        VALUES (:id, :start, ARRAY[CAST(:receiver AS jsonb)], '{"extraction_method": "synthetic"}', 1.0)"""
    with transaction(rehearsal.engine) as connection:
        rows = [foreign_row(uuid.UUID(int=10**9 + index)) for index in range(NUM_SYNTHETIC)]
        connection.execute(sa.text(insert), rows)
    return synthetic_rows(rehearsal)


def synthetic_rows(rehearsal: Rehearsal) -> list[tuple[Any, ...]]:
    """The text of every row without a session."""
    return rehearsal.rows(
        "SELECT mf::text FROM heimdall.measurement_features mf WHERE NOT EXISTS "
        "(SELECT 1 FROM heimdall.recording_sessions s WHERE s.id = mf.recording_session_id) ORDER BY 1"
    )


def upgrade(environment: dict[str, str]) -> dict[str, Any]:
    """`heimdall db upgrade`, as a person runs it."""
    done = subprocess.run(
        [*HEIMDALL, "db", "upgrade", "--json"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def assert_states_agree_with_the_tables(rehearsal: Rehearsal) -> None:
    """What stats counts is what the tables alone say, for every completed session."""
    columns = "id, state, measurements_total, measurements_with_features, feature_version"
    with transaction(rehearsal.engine) as connection:
        sessions, parameters = current_sessions(connection)
        known = connection.execute(sa.text(f"{sessions} SELECT {columns} FROM sessions ORDER BY id"), parameters).all()
        wanted = "WITH wanted AS MATERIALIZED (SELECT * FROM heimdall.recording_sessions)"
        true = connection.execute(
            sa.text(f"{wanted} SELECT {columns} FROM ({classified(connection, 'wanted')}) c ORDER BY id")
        ).all()
    assert known == true


def test_we_take_over_from_the_old_writer_without_an_error_a_loss_or_a_second_computation(
    rehearsal: Rehearsal,
) -> None:
    writer = rehearsal.writer
    old = fill(rehearsal.engine, NUM_OLD)
    with_iq = [key for index, key in enumerate(old) if index % 10 != 9]
    synthetic = add_synthetic_rows(rehearsal)
    with writer.connect() as connection:
        for key in with_iq[:NUM_FAILED]:
            writer.write(connection, key, failed=True)
    environment = dagster_environment(rehearsal.settings)
    environment.update(HEIMDALL_WORKERS="2", HEIMDALL_BATCH_SIZE="100")
    writer.start()
    try:
        # The tables are changed under the writer, which notices nothing.
        writer.wait_for(4)
        assert upgrade(environment)["before"] is None
        assert upgrade(environment)["before"] is not None  # a second time changes nothing
        writer.limit = len(writer.written) + 10
        writer.wait_for(writer.limit)

        # Side by side: both work on what is there, and on what arrives.
        arrived = rehearsal.arrive(NUM_OLD)
        with Processes(environment, rehearsal.settings.home / "logs") as processes:
            start_daemon(processes)
            wait_for(rehearsal.done_by_us, "the daemon to work", timeout_s=PATIENCE_S, poll_s=0.1)
            arrived += rehearsal.arrive(NUM_OLD + NUM_ARRIVING)
            writer.limit += NUM_ARRIVING
            writer.wait_for(writer.limit - 10)
            ours = rehearsal.done_by_us()[0]
            with writer.connect() as connection:  # it had that session on its list since before we came
                writer.write(connection, ours)
            writer.stop()

            # Alone.
            arrived += rehearsal.arrive(NUM_OLD + 2 * NUM_ARRIVING)
            computable = {*with_iq, *arrived}
            wait_for(
                lambda: set(rehearsal.versions()) == computable, "every session to have features", timeout_s=PATIENCE_S
            )
            wait_for(lambda: not unfinished(rehearsal), "the last run to end", timeout_s=PATIENCE_S)
    finally:
        writer.stop()

    assert writer.errors == []
    versions = rehearsal.versions()
    by_us = rehearsal.done_by_us()
    # Nothing was computed twice by us, and nothing that the old writer did was touched.
    assert len(by_us) == len(set(by_us))
    assert {key for key, version in versions.items() if version is None} == set(writer.written)
    assert {key for key, version in versions.items() if version == FEATURE_VERSION} == set(by_us) - set(writer.written)
    assert set(versions) == computable
    assert ours in by_us
    assert ours in writer.written
    # What we replaced is in the history: rows that said that extraction failed, and no other.
    replaced = rehearsal.rows(
        "SELECT recording_session_id, feature_row ->> 'error_message' FROM heimdall.measurement_features_history"
    )
    assert sorted(replaced) == sorted((key, "timeout") for key in with_iq[:NUM_FAILED])
    assert synthetic_rows(rehearsal) == synthetic
    assert_states_agree_with_the_tables(rehearsal)
    by_state = dict(rehearsal.rows("SELECT state, count(*) FROM heimdall.feature_states GROUP BY 1"))
    assert by_state == {"done": len(computable), "empty": NUM_OLD // 10}


def unfinished(rehearsal: Rehearsal) -> list[tuple[Any, ...]]:
    """Sessions that are planned or being worked on."""
    return rehearsal.rows(
        "SELECT recording_session_id FROM heimdall.feature_states "
        "WHERE reserved_by IS NOT NULL OR state NOT IN ('done', 'empty')"
    )
