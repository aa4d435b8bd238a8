"""Dagster's event log, in Dagster's own database: what of it nothing depends on any more.

Dagster keeps every event for ever, and has no call that deletes events of a partition in PostgreSQL
(``wipe_asset_partitions`` is not implemented there), nor any for events without a run. The statements here read its
tables ``event_logs``, ``dynamic_partitions`` and ``asset_check_executions``, as dagster-postgres 0.29 makes them, and
delete from them and from ``asset_event_tags``, which belongs to the first.

An event is *needed* while it is what the UI shows of an asset or of a partition: the last materialization; and the
last sign that one was planned, which is what makes a failed partition red.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.engine import Connection

RUNLESS = ""
"""``run_id`` of events that were reported without a run."""

_MATERIALIZATION = "ASSET_MATERIALIZATION"
_PLANNED = "ASSET_MATERIALIZATION_PLANNED"

# Two conditions where IS NOT DISTINCT FROM would say it: that finds no index.
_NEEDED = f"""
    (e.partition IS NULL
     AND NOT EXISTS (SELECT 1 FROM event_logs n
                     WHERE n.asset_key = e.asset_key AND n.partition IS NULL AND n.id > e.id
                       AND n.dagster_event_type = '{_MATERIALIZATION}' AND {{0}})
     OR EXISTS (SELECT 1 FROM dynamic_partitions d
                WHERE d.partitions_def_name = :partitions AND d.partition = e.partition)
        AND NOT EXISTS (SELECT 1 FROM event_logs n
                        WHERE n.asset_key = e.asset_key AND n.partition = e.partition AND n.id > e.id
                          AND n.dagster_event_type IN ('{_MATERIALIZATION}', e.dagster_event_type) AND {{0}}))"""


def delete_keys(connection: Connection, keys: Sequence[str], *, partitions: str) -> None:
    """Delete keys of dynamic partitions: what Dagster's own call does for one, for many.

    Parameters
    ----------
    connection : Connection
        Dagster's database, whichever driver it uses.
    keys : sequence of str
        Those that are not there are left out.
    partitions : str
        Name of the dynamic partitions.
    """
    query = sa.text("DELETE FROM dynamic_partitions WHERE partitions_def_name = :partitions AND partition IN :keys")
    if keys:
        connection.execute(
            query.bindparams(sa.bindparam("keys", expanding=True)), {"partitions": partitions, "keys": list(keys)}
        )


def left_red(connection: Connection, run_ids: Collection[str], *, asset_key: str) -> list[str]:
    """Partitions that some runs were to materialize, and that nobody has materialized since those were planned.

    Parameters
    ----------
    connection : Connection
        Dagster's database, whichever driver it uses.
    run_ids : collection of str
        Runs that failed.
    asset_key : str
        As Dagster writes it: ``'["measurement_features"]'``.
    """
    if not run_ids:
        return []
    query = sa.text(f"""
        SELECT DISTINCT e.partition FROM event_logs e
        WHERE e.run_id IN :run_ids AND e.dagster_event_type = '{_PLANNED}' AND e.asset_key = :asset_key
          AND e.partition IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM event_logs n
                          WHERE n.asset_key = e.asset_key AND n.partition = e.partition AND n.id > e.id
                            AND n.dagster_event_type = '{_MATERIALIZATION}')""")
    parameters = {"run_ids": list(run_ids), "asset_key": asset_key}
    return list(connection.scalars(query.bindparams(sa.bindparam("run_ids", expanding=True)), parameters))


def unneeded_runs(connection: Connection, run_ids: Collection[str], *, partitions: str) -> list[str]:
    """Those of some runs that hold no event that is needed.

    Parameters
    ----------
    connection : Connection
        Dagster's database.
    run_ids : collection of str
        Runs that have ended.
    partitions : str
        Name of the dynamic partitions; events of keys that are not registered any more are not needed.
    """
    query = f"""
        SELECT r.run_id FROM unnest(CAST(:run_ids AS text[])) AS r (run_id)
        WHERE NOT EXISTS (
            SELECT 1 FROM event_logs e
            WHERE e.run_id = r.run_id AND e.asset_key IS NOT NULL
              AND e.dagster_event_type IN ('{_MATERIALIZATION}', '{_PLANNED}')
              AND {_NEEDED.format("n.run_id <> e.run_id")})"""
    return list(connection.scalars(sa.text(query), {"run_ids": list(run_ids), "partitions": partitions}))


def delete_runless(
    connection: Connection, asset_keys: Collection[str], *, days: float, partitions: str, limit: int
) -> int:
    """Delete materializations that were reported without a run, are older than so many days, and not needed.

    Parameters
    ----------
    connection : Connection
        Dagster's database.
    asset_keys : collection of str
        Of these assets, as Dagster writes them: ``'["feature_coverage"]'``.
    days : float
        Younger ones stay.
    partitions : str
        See :func:`unneeded_runs`.
    limit : int
        At most so many.

    Returns
    -------
    int
        How many were deleted.
    """
    query = f"""
        WITH old AS MATERIALIZED (
            SELECT e.id FROM event_logs e
            WHERE e.run_id = '{RUNLESS}' AND e.asset_key = ANY (:asset_keys)
              AND e.dagster_event_type = '{_MATERIALIZATION}'
              AND e.timestamp < (clock_timestamp() AT TIME ZONE 'UTC') - make_interval(secs => :seconds)
              AND NOT {_NEEDED.format("true")}
            ORDER BY e.id LIMIT :limit),
        tags AS (DELETE FROM asset_event_tags t USING old WHERE t.event_id = old.id)
        DELETE FROM event_logs e USING old WHERE e.id = old.id"""
    parameters = {
        "asset_keys": list(asset_keys),
        "seconds": days * 86_400.0,
        "partitions": partitions,
        "limit": limit,
    }
    return int(connection.execute(sa.text(query), parameters).rowcount)


def delete_evaluations(connection: Connection, asset_keys: Collection[str], *, days: float, limit: int) -> int:
    """Delete evaluations of asset checks that were reported without a run, are older, and not the last of their check.

    Parameters
    ----------
    connection : Connection
        Dagster's database.
    asset_keys : collection of str
        Of checks of these assets.
    days : float
        Younger ones stay.
    limit : int
        At most so many.

    Returns
    -------
    int
        How many were deleted.
    """
    query = f"""
        WITH old AS MATERIALIZED (
            SELECT c.id, c.evaluation_event_storage_id AS event_id FROM asset_check_executions c
            WHERE c.run_id = '{RUNLESS}' AND c.asset_key = ANY (:asset_keys)
              AND c.evaluation_event_timestamp
                  < (clock_timestamp() AT TIME ZONE 'UTC') - make_interval(secs => :seconds)
              AND EXISTS (SELECT 1 FROM asset_check_executions n
                          WHERE n.asset_key = c.asset_key AND n.check_name = c.check_name AND n.id > c.id)
            ORDER BY c.id LIMIT :limit),
        events AS (DELETE FROM event_logs e USING old WHERE e.id = old.event_id)
        DELETE FROM asset_check_executions c USING old WHERE c.id = old.id"""
    parameters = {"asset_keys": list(asset_keys), "seconds": days * 86_400.0, "limit": limit}
    return int(connection.execute(sa.text(query), parameters).rowcount)
