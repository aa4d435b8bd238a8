"""Lists of the latest sessions: in order, page by page, and by the index whatever the number of sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db import network, recent
from heimdall_assets.db.coverage import failure_groups
from heimdall_assets.db.engine import autocommit, transaction
from heimdall_assets_tests.db.rows import statements_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection, Engine

NUM_SESSIONS = 60_000


def fill(engine: Engine, count: int) -> None:
    """Sessions a minute apart, each with a measurement; of every 20 one is quarantined, one partial, one stale."""
    statements = (
        "SET LOCAL session_replication_role = replica",
        "INSERT INTO heimdall.websdr_stations (name) VALUES ('RX1')",
        f"""INSERT INTO heimdall.recording_sessions (session_name, status, session_start, created_at, updated_at,
                                                     duration_seconds)
            SELECT 's' || i, 'completed', t, t, t, 1 FROM generate_series(1, {count}) i,
                 LATERAL (SELECT timestamptz '2025-06-01 00:00Z' + i * interval '1 minute' AS t) x""",
        """INSERT INTO heimdall.measurements ("timestamp", websdr_station_id, recording_session_id,
                                              iq_data_location, created_at)
           SELECT s.session_start, w.id, s.id, 'a.npy', s.created_at
           FROM heimdall.recording_sessions s, heimdall.websdr_stations w""",
        """INSERT INTO heimdall.feature_states (recording_session_id, state, completed_at, updated_at,
                                                measurements_total, feature_version, reason, message)
           SELECT id, CASE i % 20 WHEN 0 THEN 'quarantined' WHEN 1 THEN 'partial' ELSE 'done' END, updated_at,
                  updated_at, 1, CASE i % 20 WHEN 0 THEN NULL WHEN 2 THEN 1 ELSE 2 END,
                  CASE WHEN i % 40 = 0 THEN 'truncated' WHEN i % 20 = 0 THEN 'malformed' END, 'why'
           FROM (SELECT *, substr(session_name, 2)::int AS i FROM heimdall.recording_sessions) s""",
        """INSERT INTO heimdall.measurement_features (recording_session_id, "timestamp", receiver_features,
                                                      extraction_metadata, overall_confidence, mean_snr_db)
           SELECT recording_session_id, completed_at, ARRAY['{"rx_id": "RX1"}'::jsonb], '{}', 0, 12.5
           FROM heimdall.feature_states WHERE state <> 'quarantined'""",
    )
    with transaction(engine) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    with autocommit(engine) as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


def names(found: list[recent.ListedSession]) -> list[str | None]:
    """Names of listed sessions."""
    return [session.name for session in found]


def test_lists_are_by_state_reason_and_version_the_latest_first(engine: Engine) -> None:
    fill(engine, 100)
    with transaction(engine) as connection:
        every = recent.list_sessions(connection, limit=200)
        assert names(every) == [f"s{i}" for i in range(100, 0, -1)]
        trouble = recent.list_sessions(connection, states=recent.TROUBLE)
        assert names(trouble) == ["s100", "s80", "s60", "s40", "s20"]
        assert (trouble[0].state, trouble[0].reason, trouble[0].message) == ("quarantined", "malformed", "why")
        assert trouble[0].mean_snr_db is None
        assert names(recent.list_sessions(connection, states=recent.TROUBLE, reason="truncated")) == ["s80", "s40"]
        stale = recent.list_sessions(connection, states=("done", "partial"), stale_before=2)
        assert names(stale) == ["s82", "s62", "s42", "s22", "s2"]
        assert (stale[0].feature_version, stale[0].mean_snr_db, stale[0].measurements_total) == (1, 12.5, 1)
        assert recent.list_sessions(connection, states=("ignored",)) == []
        assert recent.list_sessions(connection, states=("failed",), reason="truncated") == []


def test_stale_are_those_of_any_older_version_of_other_code_and_those_that_are_marked(engine: Engine) -> None:
    fill(engine, 20)
    with transaction(engine) as connection:
        for name, change in (
            ("s19", "feature_version = 0"),
            ("s17", "feature_version = NULL"),
            ("s15", "stale_reason = 'receiver_settings'"),
            ("s2", "stale_reason = 'receiver_settings'"),  # it is of an older version too
            ("s20", "stale_reason = 'receiver_settings'"),  # it has no features
        ):
            query = f"""UPDATE heimdall.feature_states fs SET {change} FROM heimdall.recording_sessions s
                        WHERE s.id = fs.recording_session_id AND s.session_name = :name"""
            connection.execute(sa.text(query), {"name": name})

        def page(limit: int, after: recent.Position | None = None) -> list[recent.ListedSession]:
            states = ("done", "partial")
            return recent.list_sessions(connection, states=states, stale_before=2, after=after, limit=limit)

        assert names(page(50)) == ["s19", "s17", "s15", "s2"]
        first = page(2)
        assert names(page(50, first[-1].position)) == ["s15", "s2"]


def test_pages_follow_one_another_without_a_gap_and_without_a_session_twice(engine: Engine) -> None:
    fill(engine, 100)
    seen: list[str | None] = []
    with transaction(engine) as connection:
        # many with the same time stamp: the id decides
        connection.execute(
            sa.text("UPDATE heimdall.feature_states SET completed_at = date_trunc('hour', completed_at)")
        )
        after = None
        while found := recent.list_sessions(connection, after=after, limit=7):
            seen += names(found)
            after = found[-1].position
    assert sorted(map(str, seen)) == sorted(f"s{i}" for i in range(1, 101))


def test_trouble_by_reason_counts_as_failures_does(engine: Engine) -> None:
    fill(engine, 100)
    with transaction(engine) as connection:
        groups = recent.trouble_by_reason(connection)
        known = failure_groups(connection)
    assert [(g.reason, g.sessions, g.quarantined) for g in groups] == [("malformed", 3, 3), ("truncated", 2, 2)]
    assert [(g.reason, g.sessions, g.quarantined, g.example_session_id) for g in known] == [
        (g.reason, g.sessions, g.quarantined, g.example_session_id) for g in groups
    ]


def scanned_by(connection: Connection, ask: Callable[[], object]) -> set[str]:
    """Tables that PostgreSQL reads from end to end for the statement that a function sends."""
    with statements_of(connection.engine) as sent:
        ask()
    statement, parameters = sent[-1]
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    nodes, scanned = [plan[0]["Plan"]], set()
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", ())
        if "Seq Scan" in node["Node Type"]:
            scanned.add(node["Relation Name"])
    return scanned - {"websdr_stations", "known_sources", "feature_strays"}  # all are small


def test_no_list_and_no_sample_reads_a_table_from_end_to_end(engine: Engine) -> None:
    fill(engine, NUM_SESSIONS)
    with transaction(engine) as connection:
        first = recent.list_sessions(connection)
        asked: dict[str, Callable[[], object]] = {
            "every": lambda: recent.list_sessions(connection),
            "next": lambda: recent.list_sessions(connection, after=first[-1].position),
            "stale": lambda: recent.list_sessions(connection, states=("done", "partial"), stale_before=2),
            "reason": lambda: recent.list_sessions(connection, states=recent.TROUBLE, reason="truncated"),
            "no such reason": lambda: recent.list_sessions(connection, states=recent.TROUBLE, reason="none"),
            "done": lambda: recent.list_sessions(connection, states=("done",)),
            "figures": lambda: network.session_figures(connection, latest=100),
            "receivers": lambda: network.receiver_health(connection, latest=100),
            "reasons": lambda: recent.trouble_by_reason(connection),
        }
        assert {name: scanned for name, ask in asked.items() if (scanned := scanned_by(connection, ask))} == {}
