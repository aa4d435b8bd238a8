"""What the trigger on measurement_features notes, tells, and never does to whoever writes there."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import psycopg
import sqlalchemy as sa

from heimdall_assets.db import attempts, discovery, heartbeats, states, work
from heimdall_assets.db.engine import autocommit, open_engine, transaction
from heimdall_assets.extraction import extract_session
from heimdall_assets_tests.db.rows import add_features

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory


def noted(connection: Connection) -> list[UUID]:
    query = "SELECT recording_session_id FROM heimdall.feature_changes ORDER BY id"
    return list(connection.scalars(sa.text(query)))


def send(connection: Connection, statement: str, *keys: UUID) -> None:
    connection.execute(sa.text(f"{statement} WHERE recording_session_id = ANY (:keys)"), {"keys": list(keys)})


def test_what_other_code_does_is_noted_and_what_we_store_is_not(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key, ours = factory.add_many(2)
    assert extract_session(engine, ours, settings).computed
    with transaction(engine) as connection:
        assert noted(connection) == []
        add_features(connection, key)
        send(connection, "UPDATE heimdall.measurement_features SET gdop = 1", key, ours)
        send(connection, "DELETE FROM heimdall.measurement_features", key)
    with transaction(engine) as connection:
        assert sorted(noted(connection)) == sorted([key, key, ours, key])


def test_a_change_is_looked_at_once_but_not_while_its_session_is_worked_on(
    engine: Engine, factory: SessionFactory
) -> None:
    waiting, running, planned = factory.add_many(3)
    with transaction(engine) as connection:
        discovery.discover(connection)
        attempts.begin_attempt(connection, running, run_id="run", feature_version=1)
        work.reserve(connection, "fresh-1", [planned])
        for key in (waiting, running, planned, uuid.uuid4()):
            if factory.scalar("SELECT count(*) FROM heimdall.recording_sessions WHERE id = :id", id=key):
                add_features(connection, key, [{"rx_id": "RX1"}])
        assert work.absorb_changes(connection, 99) == {waiting}
        assert noted(connection) == [running, planned]
        assert work.absorb_changes(connection, 99) == set()
        work.release(connection, ["fresh-1"])
        assert work.absorb_changes(connection, 99) == {planned}
        row = states.state_of(connection, planned)
    assert row is not None
    assert (row.state, row.measurements_total, row.measurements_with_features) == ("done", 3, 1)


def test_no_more_changes_are_looked_at_than_wanted_the_oldest_first(engine: Engine, factory: SessionFactory) -> None:
    keys = factory.add_many(5)
    with transaction(engine) as connection:
        discovery.discover(connection)
        for key in keys:
            add_features(connection, key)
        assert work.absorb_changes(connection, 2) == set(keys[:2])
        assert work.absorb_changes(connection, 9) == set(keys[2:])


def test_features_that_other_code_replaces_by_others_of_its_own_are_counted_anew(
    engine: Engine, factory: SessionFactory
) -> None:
    key = factory.add()
    with transaction(engine) as connection:
        add_features(connection, key, [{"rx_id": "RX1"}])
        discovery.discover(connection)
        receivers = """ARRAY['{"rx_id": "RX1"}', '{"rx_id": "RX2"}']::jsonb[]"""
        send(connection, f"UPDATE heimdall.measurement_features SET receiver_features = {receivers}", key)
        assert work.absorb_changes(connection, 9) == {key}
        row = states.state_of(connection, key)
    assert row is not None
    assert row.measurements_with_features == 2


def test_every_row_that_is_stored_with_features_is_told_to_those_who_listen(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ours, theirs, failed = factory.add(), factory.add(), factory.add(("no-such-file.npy",))
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN heimdall_features")
        extract_session(engine, ours, settings)
        extract_session(engine, failed, settings)
        with transaction(engine) as connection:
            connection.execute(
                sa.text(
                    "ALTER TABLE heimdall.measurement_features "
                    "DROP CONSTRAINT measurement_features_recording_session_id_fkey"
                )
            )
            add_features(connection, uuid.uuid4())  # a synthetic one, of no session
            add_features(connection, theirs)
            send(connection, "DELETE FROM heimdall.measurement_features", theirs)
        told = [note.payload for note in listener.notifies(timeout=5, stop_after=2)]
    assert told == [str(ours), str(theirs)]


def test_a_writer_needs_no_right_of_ours_and_never_fails_by_the_trigger(
    engine: Engine, factory: SessionFactory
) -> None:
    keys = factory.add_many(2)
    role = f"writer_{engine.url.database}"
    with autocommit(engine) as connection:
        for statement in (
            f"CREATE ROLE {role} LOGIN",
            f"GRANT USAGE ON SCHEMA heimdall TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON heimdall.measurement_features TO {role}",
        ):
            connection.exec_driver_sql(statement)
    writer = open_engine(engine.url.set(username=role))
    try:
        with transaction(writer) as connection:
            add_features(connection, keys[0])
        with transaction(engine) as connection:
            assert noted(connection) == keys[:1]
            connection.exec_driver_sql("ALTER TABLE heimdall.feature_changes RENAME TO taken_away")
        with transaction(writer) as connection:
            add_features(connection, keys[1])
            send(connection, "DELETE FROM heimdall.measurement_features", keys[1])
    finally:
        writer.dispose()
        with autocommit(engine) as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}")
            connection.exec_driver_sql(f"DROP ROLE {role}")
    with transaction(engine) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM heimdall.measurement_features")) == 1


def test_after_a_truncation_everything_is_compared_again(engine: Engine, factory: SessionFactory) -> None:
    factory.add()
    with transaction(engine) as connection:
        heartbeats.beat(connection, heartbeats.DISCOVERY)
        connection.execute(sa.text("TRUNCATE heimdall.measurement_features"))
        assert heartbeats.last_beat(connection, heartbeats.DISCOVERY) is None
