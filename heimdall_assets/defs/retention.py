"""What Dagster may forget: ended runs and events that nothing it shows depends on any more.

Dagster keeps every event of every run for ever, and its PostgreSQL grows with each batch. What is kept here, however
old, is what the UI shows:

- the run that materialized a partition last, since its events are what makes the partition green;
- the run that failed a partition last, since its events are what makes it red, and say why;
- of the reports, such as ``feature_coverage``, which come every minute, and of the evaluations of their checks, the
  latest and those of the last days;
- every run that has not ended.

A run is deleted, with all its events, when it ended more than HEIMDALL_RETENTION_DAYS ago and each of its partitions
is retired, removed, or was materialized, or failed, by a later run. Reports without a run follow the same rule, event
by event. Ticks of sensor and schedules are Dagster's own affair (``retention`` in dagster.yaml). Nothing is lost that
matters: rows, attempts and reports of coverage are in Heimdall's tables, which this never touches.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from dagster import DagsterInstance, RunsFilter
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG
from sqlalchemy.engine import Engine

from heimdall_assets.db import eventlog
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.states import database_time
from heimdall_assets.defs.events import FEATURES_KEY
from heimdall_assets.defs.partitions import recording_sessions_partitions
from heimdall_assets.defs.reports import COVERAGE_KEY, HEALTH_KEY, SAMPLES_KEY

REPOSITORY_LABEL = "__repository__@heimdall_assets"
"""The tag's value of every run of this code location; others may share the instance."""

ASSETS = (FEATURES_KEY, COVERAGE_KEY, HEALTH_KEY, SAMPLES_KEY)

CHUNK = 200
MOST_RUNS = 5000
"""Deleted in one go, at most; a run takes Dagster some ten milliseconds, and the rest can wait a day."""


@dataclass(frozen=True)
class Forgotten:
    """How many runs, and events without a run, were deleted."""

    runs: int
    events: int


def forget_old(instance: DagsterInstance, dagster_engine: Engine, *, days: float) -> Forgotten:
    """Delete what is older than so many days and not needed.

    Parameters
    ----------
    instance : DagsterInstance
        Deletes the runs.
    dagster_engine : Engine
        Dagster's database, which knows what is needed.
    days : float
        Younger runs and events stay.
    """
    name = str(recording_sessions_partitions.name)
    with transaction(dagster_engine) as connection:
        before = database_time(connection) - timedelta(days=days)
    # All ids at once: a page could not begin after a run that was deleted with the page before.
    ended = instance.get_run_ids(
        RunsFilter(statuses=FINISHED_STATUSES, updated_before=before, tags={REPOSITORY_LABEL_TAG: REPOSITORY_LABEL})
    )
    runs = 0
    for start in range(0, len(ended), CHUNK):
        with transaction(dagster_engine) as connection:
            unneeded = eventlog.unneeded_runs(connection, ended[start : start + CHUNK], partitions=name)
        for run_id in unneeded[: MOST_RUNS - runs]:
            instance.delete_run(run_id)
            runs += 1
    return Forgotten(runs, _forget_reports(dagster_engine, name, days))


def _forget_reports(dagster_engine: Engine, name: str, days: float) -> int:
    keys, limit = [key.to_string() for key in ASSETS], 10 * CHUNK
    delete_reports = partial(eventlog.delete_runless, partitions=name)
    events = 0
    for delete in (delete_reports, eventlog.delete_evaluations):
        while True:
            with transaction(dagster_engine) as connection:
                deleted = delete(connection, keys, days=days, limit=limit)
            events += deleted
            if deleted < limit:
                break
    return events
