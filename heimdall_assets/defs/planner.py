"""The one place that turns waiting sessions into runs: shared by sensor and schedule, under one lock."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRequest, RunsFilter
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PRIORITY_TAG,
)
from sqlalchemy.engine import Connection, Engine

from heimdall_assets.db import attempts, heartbeats, ledger, pauses, requests, states, work
from heimdall_assets.db.locks import planner_lock
from heimdall_assets.db.pauses import Pause
from heimdall_assets.defs.partitions import recording_sessions_partitions
from heimdall_assets.defs.tags import BATCH_TAG, LANE_TAG, ORIGIN_TAG, SHARED, SLOT_TAG
from heimdall_assets.extraction import retry_rule
from heimdall_assets.planning import Asked, Batch, Candidate, Lane, lane_of, plan, plan_requests, priority
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.release import this_process
from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)

EXTRACT_FEATURES = "extract_features"
EXTRACT_SESSIONS = "extract_sessions"

LAUNCH_GRACE = timedelta(seconds=120)
"""A batch whose run does not exist yet may be on its way from the sensor to the queue."""


@dataclass
class Plan:
    """What one tick decided.

    Attributes
    ----------
    is_busy : bool
        Another planner holds the lock; nothing was looked at.
    batches : list of Batch
        To be launched.
    discovered, recovered : int
        Sessions that were new; sessions whose worker had died.
    in_flight : int
        Batches planned earlier and not finished.
    pause : Pause or None
        Somebody holds planning: there are no batches, whatever waits.
    """

    is_busy: bool = False
    batches: list[Batch] = field(default_factory=list)
    discovered: int = 0
    recovered: int = 0
    in_flight: int = 0
    pause: Pause | None = None

    @property
    def num_sessions(self) -> int:
        """Sessions planned in this tick."""
        return sum(len(batch.session_ids) for batch in self.batches)


def plan_tick(
    instance: DagsterInstance, engine: Engine, settings: Settings, *, since: datetime | None, is_schedule: bool
) -> Plan:
    """Discover, take back what was lost, choose, reserve and register: all under the planner's lock.

    While somebody holds planning, only the first two; runs that still wait in the queue are cancelled then, and their
    sessions are planned anew afterwards.

    Parameters
    ----------
    instance : DagsterInstance
        Where partition keys are registered and runs are looked up.
    engine : Engine
        Heimdall's database.
    settings : Settings
        Batch size and count, shares, retry rule.
    since : datetime or None
        Discover only sessions touched after this; None: all. In a small database always all: then sessions whose
        time stamps lie in the past need not wait for the schedule.
    is_schedule : bool
        The schedule plans up to ``max_batches`` whatever is in flight, but only ranges, since its runs are all of
        one job; the sensor fills up to that number.

    Returns
    -------
    Plan
        Its batches are reserved: they must be launched, or are taken back when they were not.
    """
    with planner_lock(engine) as connection:
        if connection is None:
            return Plan(is_busy=True)
        heartbeats.beat(connection, heartbeats.PLANNER, this_process())
        result = Plan(discovered=ledger.catch_up(connection, since=since, is_full=is_schedule))
        result.pause = pauses.current_pause(connection)
        result.recovered = len(attempts.recover_lost(connection, retry_rule(settings)))
        in_flight, queued = _take_back(instance, connection, settings, result.pause)
        if not is_schedule:
            _take_in(connection, result.pause)
        result.in_flight = in_flight.total()
        if result.pause is not None:
            return result
        healthy = in_flight["fresh"] + in_flight["backlog"]
        free = settings.max_batches if is_schedule else max(0, settings.max_batches - healthy)
        slots = free * settings.batch_size
        # however much is in flight, what was completed just now waits for none of it
        fresh_slots = settings.batch_size if not free and not in_flight["fresh"] else 0
        retry_slots = max(0, settings.max_batches - in_flight["retry"]) * settings.batch_size
        newest, oldest, retries = _waiting(connection, max(slots, fresh_slots), retry_slots, settings.grace_seconds)
        batches = plan(
            newest,
            oldest,
            retries,
            slots=slots,
            retry_slots=retry_slots,
            batch_size=settings.batch_size,
            oldest_share_percent=settings.oldest_share_percent,
            fresh_slots=fresh_slots,
            queued=queued,
        )
        result.batches = [batch for batch in batches if batch.is_contiguous or not is_schedule]
        for batch in result.batches:
            work.reserve(connection, batch.batch_id, batch.session_ids)
        if not is_schedule:
            free = max(0, settings.max_batches - in_flight["request"])
            result.batches += _plan_requests(connection, settings, free * settings.batch_size)
        keys = [session_id for batch in result.batches for session_id in batch.session_ids]
        if keys:
            result.batches = _register(instance, result.batches)
            work.set_registered(connection, keys)
        if is_schedule:
            work.release(connection, [batch.batch_id for batch in result.batches if not batch.is_contiguous])
            result.batches = [batch for batch in result.batches if batch.is_contiguous]
        for _, number, sessions in requests.note_queued(connection):
            logger.info("Backfill batch %d: %d tasks queued", number, sessions)
    return result


def _register(instance: DagsterInstance, batches: list[Batch]) -> list[Batch]:
    """Give Dagster the keys in the order in which they will run, inside the lock: ranges follow that order.

    A key that Dagster knew before, since a planner died half-way or a person added it, would stretch its range over
    whatever lies between. Where the newest keys are not the ranges' ones, side by side, all go as lists.
    """
    name = str(recording_sessions_partitions.name)
    ranges = [str(key) for batch in batches if batch.is_contiguous for key in batch.session_ids]
    lists = [str(key) for batch in batches if not batch.is_contiguous for key in batch.session_ids]
    instance.add_dynamic_partitions(name, lists)
    instance.add_dynamic_partitions(name, ranges)
    newest = instance.get_paginated_dynamic_partitions(name, limit=len(ranges), ascending=False) if ranges else None
    if newest is None or list(reversed(newest.results)) == ranges:
        return batches
    logger.info("some of %d keys were registered before: they run as lists", len(ranges))
    return [replace(batch, is_contiguous=False) for batch in batches]


def _waiting(
    connection: Connection, slots: int, retry_slots: int, grace_seconds: float
) -> tuple[list[Candidate], list[Candidate], list[Candidate]]:
    """The newest and oldest pending sessions and due retries, without those that other code has done meanwhile."""
    newest = [Candidate(*row) for row in work.newest_pending(connection, slots, grace_seconds=grace_seconds)]
    oldest = [Candidate(*row) for row in work.oldest_pending(connection, slots, grace_seconds=grace_seconds)]
    retries = [Candidate(session_id, True) for session_id in work.due_retries(connection, retry_slots)]
    found = {candidate.session_id for candidate in (*newest, *oldest, *retries)}
    done = work.absorb(connection, found) if found else set()
    newest, oldest, retries = (
        [candidate for candidate in candidates if candidate.session_id not in done]
        for candidates in (newest, oldest, retries)
    )
    return newest, oldest, retries


def _take_in(connection: Connection, pause: Pause | None) -> None:
    """Find the sessions of new requests, unless these wait too, and see which of the others have ended."""
    if pause is None:
        requests.take_in(connection, feature_version=FEATURE_VERSION)
    for end in requests.settle(connection, feature_version=FEATURE_VERSION):
        if end.status == "done":
            logger.info(
                "Backfill complete: %d recordings found, %d tasks queued (request %s)",
                end.total_found,
                end.tasks_queued,
                end.request_id,
            )
        else:
            logger.info(
                "Backfill cancelled: %d recordings found, %d done, %d failed (request %s)",
                end.total_found,
                end.done,
                end.failed,
                end.request_id,
            )


def _plan_requests(connection: Connection, settings: Settings, slots: int) -> list[Batch]:
    """Plan and reserve what people asked for and nobody has planned yet."""
    waiting = [
        Asked(
            row.request_id,
            row.recording_session_id,
            row.is_registered,
            row.stale,
            row.batch_size or settings.batch_size,
        )
        for row in requests.next_sessions(connection, slots, feature_version=FEATURE_VERSION)
    ]
    batches = plan_requests(waiting, slots=slots)
    for batch in batches:
        work.reserve(connection, batch.batch_id, batch.session_ids)
    return batches


def run_request(batch: Batch, planner: str) -> RunRequest:
    """The run of a batch that sensor or schedule planned."""
    origin = planner if batch.request_id is None else str(batch.request_id)
    options: dict[str, object] = {"stale": True} if batch.stale else {}
    tags = {
        BATCH_TAG: batch.batch_id,
        ORIGIN_TAG: origin,
        LANE_TAG: batch.lane,
        PRIORITY_TAG: str(priority(batch.lane, origin)),
    }
    if batch.lane != "fresh":
        tags[SLOT_TAG] = SHARED
    if not batch.is_contiguous:
        listed: dict[str, object] = {"session_ids": list(map(str, batch.session_ids)), **options}
        config = {"ops": {"extract_listed_sessions": {"config": listed}}}
        return RunRequest(run_key=batch.batch_id, job_name=EXTRACT_SESSIONS, run_config=config, tags=tags)
    tags[ASSET_PARTITION_RANGE_START_TAG] = str(batch.session_ids[0])
    tags[ASSET_PARTITION_RANGE_END_TAG] = str(batch.session_ids[-1])
    config = {"ops": {"measurement_features": {"config": options}}} if options else {}
    return RunRequest(run_key=batch.batch_id, job_name=EXTRACT_FEATURES, run_config=config, tags=tags)


def _take_back(
    instance: DagsterInstance, connection: Connection, settings: Settings, pause: Pause | None
) -> tuple[Counter[Lane], set[Lane]]:
    """Release batches whose run ended or never came; count the others by lane, and see which lanes are queued."""
    batches = work.open_batches(connection)
    in_flight, queued, ended = Counter[Lane](), set[Lane](), []
    if not batches:
        return in_flight, queued
    now = states.database_time(connection)
    runs = instance.get_runs(RunsFilter(tags={BATCH_TAG: [batch_id for batch_id, _, _ in batches]}))
    statuses = {run.tags[BATCH_TAG]: run.status for run in runs}
    statuses |= dict.fromkeys(_cancel_queued(instance, connection, runs, pause), DagsterRunStatus.CANCELED)
    for batch_id, reserved_at, _ in batches:
        status = statuses.get(batch_id)
        if status is None:
            is_over = now - reserved_at > LAUNCH_GRACE
        else:
            is_over = status in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
        expired = now - reserved_at > timedelta(seconds=settings.reservation_seconds)
        if is_over or (expired and status != DagsterRunStatus.STARTED):
            ended.append(batch_id)
            continue
        lane = lane_of(batch_id)
        in_flight[lane] += 1
        if status in (None, DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED):
            queued.add(lane)
    if ended:
        released = work.release(connection, ended)
        logger.info("took back %d sessions of %d batches that ended", released, len(ended))
    return in_flight, queued


def _cancel_queued(
    instance: DagsterInstance, connection: Connection, runs: Sequence[DagsterRun], pause: Pause | None
) -> list[str]:
    """Cancel the runs of cancelled requests that still wait in the queue, during a pause all that do.

    Those that run end as they would have.

    Returns
    -------
    list of str
        Their batches.
    """
    queued = [run for run in runs if run.status == DagsterRunStatus.QUEUED]
    if pause is None:
        queued = [run for run in queued if run.tags[BATCH_TAG].startswith("request-")]
        asked = {run.tags.get(ORIGIN_TAG, "") for run in queued}
        ids = requests.cancelled_requests(connection, asked) if asked else set()
        queued = [run for run in queued if run.tags.get(ORIGIN_TAG) in ids]
    message = "The request was cancelled." if pause is None else f"Planned anew later: {pause.in_words}."
    for run in queued:
        instance.report_run_canceled(run, message=message)
    return [run.tags[BATCH_TAG] for run in queued]


@dataclass(frozen=True)
class Cursor:
    """What the sensor remembers between ticks, in its Dagster cursor."""

    discovered_until: datetime | None = None
    coverage_until: datetime | None = None
    coverage_at: datetime | None = None
    lockless_runs: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """Read a cursor; one that cannot be read (a person may edit it in the UI) starts anew."""
        try:
            values = json.loads(text or "{}")
            moments = {
                name: _moment(values[name]) if values.get(name) else None
                for name in ("discovered_until", "coverage_until", "coverage_at")
            }
            return cls(**moments, lockless_runs=tuple(map(str, values.get("lockless_runs", ()))))
        except (ValueError, TypeError, AttributeError, RecursionError):
            logger.warning("cursor %r cannot be read: starting anew", text)
            return cls()

    def text(self) -> str:
        """The cursor as Dagster stores it."""
        moments = {
            name: value.isoformat() if value else None
            for name, value in (
                ("discovered_until", self.discovered_until),
                ("coverage_until", self.coverage_until),
                ("coverage_at", self.coverage_at),
            )
        }
        return json.dumps({**moments, "lockless_runs": list(self.lockless_runs)})


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or moment.year < 1970:
        raise ValueError(f"{text} is no moment that this sensor wrote")
    return moment
