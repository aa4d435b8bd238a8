"""The sums of states: right after every kind of statement, whoever sends it, and however often they are compacted."""

from __future__ import annotations

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db import totals
from heimdall_assets.db.engine import transaction

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

INSERT = """
    INSERT INTO heimdall.feature_states
        (recording_session_id, state, completed_at, measurements_total, measurements_with_features, feature_version,
         stale_reason)
    VALUES (:id, :state, now(), :total, :with_features, :version, :stale)
    ON CONFLICT (recording_session_id) DO UPDATE SET state = excluded.state"""


def add(connection: Connection, rng: random.Random, count: int = 1) -> list[uuid.UUID]:
    """Some rows of any kind."""
    keys = [uuid.UUID(int=rng.getrandbits(128)) for _ in range(count)]
    rows = [
        {
            "id": key,
            "state": rng.choice(("pending", "done", "partial", "empty")),
            "total": rng.randrange(9),
            "with_features": rng.randrange(9),
            "version": rng.choice((None, 1, 2)),
            "stale": rng.choice((None, "receiver_settings")),
        }
        for key in keys
    ]
    connection.execute(sa.text(INSERT), rows)
    return keys


def sums(connection: Connection) -> list[tuple[object, ...]]:
    return sorted(map(tuple, connection.execute(sa.text(totals.SUMS))), key=str)


def counted(connection: Connection) -> list[tuple[object, ...]]:
    return sorted(map(tuple, connection.execute(sa.text(totals.RECOUNT))), key=str)


def num_rows(connection: Connection) -> int:
    return int(connection.scalar(sa.text("SELECT count(*) FROM heimdall.feature_totals")) or 0)


def test_the_sums_follow_every_statement(engine: Engine) -> None:
    rng = random.Random(1)
    changes = (
        "UPDATE heimdall.feature_states SET state = 'failed' WHERE state = 'pending'",
        "UPDATE heimdall.feature_states SET feature_version = 2, stale_reason = NULL WHERE feature_version = 1",
        "UPDATE heimdall.feature_states SET measurements_total = measurements_total + 1",
        "DELETE FROM heimdall.feature_states WHERE state = 'empty'",
        "UPDATE heimdall.feature_states SET state = 'done' WHERE false",
        "TRUNCATE heimdall.feature_states",
    )
    with transaction(engine) as connection:
        keys = add(connection, rng, 50)
        connection.execute(
            sa.text(INSERT),
            [
                {"id": key, "state": "done", "total": 1, "with_features": 1, "version": None, "stale": None}
                for key in keys[:10]
            ],
        )
        for change in changes:
            assert sums(connection) == counted(connection) != []
            connection.execute(sa.text(change))
        assert sums(connection) == counted(connection) == []


def test_a_statement_that_changes_no_sum_leaves_no_difference_behind(engine: Engine) -> None:
    with transaction(engine) as connection:
        add(connection, random.Random(2), 5)
        before = num_rows(connection)
        connection.execute(sa.text("UPDATE heimdall.feature_states SET reserved_by = 'fresh-1', updated_at = now()"))
        assert num_rows(connection) == before


def test_many_differences_become_few_sums_and_a_difference_that_comes_meanwhile_is_kept(engine: Engine) -> None:
    rng = random.Random(3)
    with transaction(engine) as connection:
        for _ in range(totals.MOST_DIFFERENCES + 1):
            add(connection, rng)
    with transaction(engine) as worker, transaction(engine) as planner:
        add(worker, rng)  # not committed yet: nobody waits for it, and it waits for nobody
        totals.compact(planner)
        assert num_rows(planner) <= 24  # kinds: states, versions, marks
        assert sums(planner) == counted(planner)
    with transaction(engine) as connection:
        assert sums(connection) == counted(connection)
        assert not totals.recount(connection)


def test_workers_that_end_sessions_at_once_do_not_disturb_the_sums(engine: Engine) -> None:
    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(20):
            with transaction(engine) as connection:
                (key,) = add(connection, rng)
                change = "UPDATE heimdall.feature_states SET state = 'running' WHERE recording_session_id = :id"
                connection.execute(sa.text(change), {"id": key})
                if rng.random() < 0.3:
                    totals.compact(connection)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with transaction(engine) as connection:
        assert sums(connection) == counted(connection)


def test_sums_that_are_wrong_are_counted_again(engine: Engine) -> None:
    with transaction(engine) as connection:
        add(connection, random.Random(4), 9)
        connection.execute(sa.text("UPDATE heimdall.feature_totals SET sessions = sessions + 1"))
        assert totals.recount(connection)
        assert sums(connection) == counted(connection)
