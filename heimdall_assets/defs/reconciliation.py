"""Making Dagster show what PostgreSQL holds: features that it was not told of, keys that it should not have.

Nothing here computes or plans. Each step marks rows in a short transaction that holds the planner's lock, and then
tells Dagster, so that planning waits for milliseconds only; what a crash leaves between the two, the next
reconciliation finds, since it compares the key sets as a whole.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.partition_status_cache import AssetPartitionStatus
from sqlalchemy.engine import Engine

from heimdall_assets.db import discovery, eventlog, features, partitions, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import planner_turn
from heimdall_assets.defs.events import FEATURES_KEY, materialization
from heimdall_assets.defs.partitions import recording_sessions_partitions, session_id_of
from heimdall_assets.defs.usage import keys_in_use
from heimdall_assets.errors import UnknownSession
from heimdall_assets.extraction import summary_of
from heimdall_assets.settings import Settings

KEYS = str(recording_sessions_partitions.name)

CHUNK = 200
"""Sessions in one transaction: few enough that the planner does not notice, and nothing grows with the tables."""


@dataclass(frozen=True)
class Reconciled:
    """What a reconciliation changed in Dagster: partitions shown as materialized, removed, and retired."""

    reported: int
    removed: int
    retired: int


def reconcile(instance: DagsterInstance, engine: Engine, settings: Settings) -> Reconciled:
    """Set right everything that Dagster shows of the sessions.

    Parameters
    ----------
    instance : DagsterInstance
        Where keys are registered and removed, and materializations are reported.
    engine : Engine
        Heimdall's database: the truth.
    settings : Settings
        The window.
    """
    with planner_turn(engine) as connection:
        discovery.discover(connection)
        work.absorb(connection)
    removed = _remove_vanished(instance, engine)
    retired = _retire(instance, engine, settings.partition_window)
    # After the set of keys has changed: what Dagster keeps of it is computed anew here, not for the first who looks.
    removed += _compare(instance, engine)
    reported = 0
    while count := report(instance, engine, settings, limit=CHUNK):
        reported += count
    return Reconciled(reported, removed, retired)


def report(instance: DagsterInstance, engine: Engine, settings: Settings, *, limit: int) -> int:
    """Show sessions as materialized whose features Dagster was not told of, the oldest first.

    Other code wrote them, or they were stored before Dagster knew the session, or by a run that died before it
    reported them. An event takes Dagster some ten milliseconds: hence a limit.

    Returns
    -------
    int
        Number of sessions; 0 where there are no more.
    """
    with planner_turn(engine) as connection:
        found = partitions.unreported(connection, window=settings.partition_window, limit=limit)
        new = [session_id for session_id, is_registered in found if not is_registered]
        if new:
            instance.add_dynamic_partitions(KEYS, [str(session_id) for session_id in new])
            work.set_registered(connection, new)
    told = []
    for session_id, _ in found:
        with transaction(engine) as connection:
            stored = features.stored_features(connection, session_id)
        if stored is None or stored.failed:  # other code took them away just now: the planner will notice
            continue
        instance.report_runless_asset_event(materialization(session_id, summary_of(stored.row), settings))
        told.append(session_id)
    with transaction(engine) as connection:
        partitions.set_reported(connection, told)
    return len(told)


def doubt_failed_runs(instance: DagsterInstance, engine: Engine, *, since: datetime) -> int:
    """Have what runs left red that failed since a moment reported again, where it has features.

    A run that covers sessions which were done before, as a backfill from the UI does, and dies, turns them red.

    Returns
    -------
    int
        Number of partitions that such runs left red, those without features included.
    """
    storage = instance.event_log_storage
    failed = instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=since))
    if not failed or not isinstance(storage, SqlEventLogStorage):
        return 0
    run_ids = [record.dagster_run.run_id for record in failed]
    with storage.index_connection() as connection:
        red = eventlog.left_red(connection, run_ids, asset_key=FEATURES_KEY.to_string())
    if red:
        with transaction(engine) as connection:
            partitions.set_lost(connection, _sessions(red).keys(), has_key=True)
    return len(red)


def _remove_vanished(instance: DagsterInstance, engine: Engine) -> int:
    """Remove the partitions of sessions that were deleted, or are not completed any more."""
    removed = 0
    while True:
        with planner_turn(engine) as connection:
            used = keys_in_use(instance)
            gone = [] if used is None else partitions.take_vanished(connection, limit=CHUNK, used=_sessions(used))
        _delete(instance, map(str, gone))
        removed += len(gone)
        if len(gone) < CHUNK:
            return removed


def _compare(instance: DagsterInstance, engine: Engine) -> int:
    """Compare all keys, and what Dagster shows of them, with the tables; Dagster is asked once for each.

    Returns
    -------
    int
        Number of keys that were removed, since they are nobody's. Features that are not shown are marked as not
        reported.
    """
    with planner_turn(engine) as connection:
        keys = instance.get_dynamic_partitions(KEYS)
        used = keys_in_use(instance)
        expected = partitions.shown(connection)
        known = _sessions(keys)
        unwanted = partitions.unwanted(connection, known)
        partitions.set_lost(connection, expected - known.keys(), has_key=False)
    wanted = {key for session_id, key in known.items() if session_id not in unwanted}
    nobodys = [] if used is None else [key for key in keys if key not in wanted and key not in used]
    _delete(instance, nobodys)
    statuses = instance.get_status_by_partition(FEATURES_KEY, keys, recording_sessions_partitions) or {}
    right = (AssetPartitionStatus.MATERIALIZED, AssetPartitionStatus.IN_PROGRESS)
    lost = {session_id for session_id in expected & known.keys() if statuses.get(known[session_id]) not in right}
    with transaction(engine) as connection:
        partitions.set_lost(connection, lost, has_key=True)
    return len(nobodys)


def _retire(instance: DagsterInstance, engine: Engine, window: int) -> int:
    """Take the keys of the oldest sessions with features from Dagster, whose pages grow slow with their number."""
    retired = 0
    while True:
        with planner_turn(engine) as connection:
            used = keys_in_use(instance)
            old = (
                [] if used is None else partitions.retire(connection, window=window, limit=CHUNK, used=_sessions(used))
            )
        _delete(instance, (str(session_id) for session_id, is_registered in old if is_registered))
        retired += len(old)
        if len(old) < CHUNK:
            return retired


def _delete(instance: DagsterInstance, keys: Iterable[str]) -> None:
    """Remove keys in one statement; ``instance.delete_dynamic_partition`` takes ten milliseconds for each.

    Dagster computes what it shows of the set of keys anew when somebody looks, not when the set changes.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        for key in keys:
            instance.delete_dynamic_partition(KEYS, key)
        return
    with storage.index_connection() as connection:
        eventlog.delete_keys(connection, list(keys), partitions=KEYS)


def _sessions(keys: Iterable[str]) -> dict[UUID, str]:
    """The sessions that keys name, without the keys that name none."""
    found = {}
    for key in keys:
        with suppress(UnknownSession):
            found[session_id_of(key)] = key
    return found
