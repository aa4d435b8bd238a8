"""A run's way through its sessions: several at a time, each reported soon after it ends."""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from itertools import islice
from uuid import UUID

from dagster import Failure, OpExecutionContext
from sqlalchemy.engine import Engine

from heimdall_assets.db import partitions
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import run_lock
from heimdall_assets.defs.events import report_materializations
from heimdall_assets.defs.partitions import session_id_of
from heimdall_assets.defs.tags import BATCH_TAG
from heimdall_assets.errors import DatabaseError, SessionBusy, UnexpectedError, UnknownSession
from heimdall_assets.extraction import Outcome, Places, extract_session
from heimdall_assets.logs import about
from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)

REPORT_EVERY_S = 1.0
"""What ends within this time is reported together: an event costs a tenth of what it costs alone. A run that is killed
in between leaves as much stored and not reported, which reconciliation finds."""


@dataclass(frozen=True)
class Finished:
    """A key that was worked on: its outcome, or why there is none."""

    partition_key: str
    outcome: Outcome | None
    reason: str | None = None
    message: str | None = None


def walk_sessions(
    engine: Engine,
    partition_keys: Sequence[str],
    settings: Settings,
    *,
    run_id: str,
    recompute: bool,
    stale: bool = False,
) -> Iterator[list[Finished]]:
    """Extract every session, ``settings.workers`` at a time, and yield what has ended, soon after it has.

    Threads, not processes: reading, the FFTs and the database release the interpreter. As soon as a session waits for a
    store or for another run, some more are worked on, since it leaves its place meanwhile.

    Yields
    ------
    list of Finished
        The first as soon as there is one, then what has ended since, at most ``REPORT_EVERY_S`` before.

    Raises
    ------
    DatabaseError
        The database went away: the sessions not reached stay reserved until the planner takes them back.
    """
    places = Places(settings.workers)
    work = partial(_extract, engine, settings=settings, places=places, run_id=run_id, recompute=recompute, stale=stale)
    waiting = iter(partition_keys)
    with ThreadPoolExecutor(settings.sessions_under_way, thread_name_prefix="session") as pool:
        active: set[Future[Finished]] = set()
        ended: list[Finished] = []
        due = time.monotonic()
        try:
            while True:
                were_left = places.were_left.done()
                most = settings.sessions_under_way if were_left else settings.workers
                keys = islice(waiting, most - len(active))
                active.update(pool.submit(copy_context().run, work, key) for key in keys)
                if not active:
                    break
                left_s = max(0.0, due - time.monotonic()) if ended else None
                awaited = active if were_left else {*active, places.were_left}
                done = wait(awaited, left_s, return_when=FIRST_COMPLETED).done & active
                active -= done
                ended += [future.result() for future in done]
                if ended and time.monotonic() >= due:
                    yield ended
                    ended = []
                    due = time.monotonic() + REPORT_EVERY_S
            if ended:
                yield ended
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _extract(
    engine: Engine, key: str, *, settings: Settings, places: Places, run_id: str, recompute: bool, stale: bool
) -> Finished:
    with about(session_id=key):
        try:
            outcome = extract_session(
                engine, session_id_of(key), settings, run_id=run_id, recompute=recompute, stale=stale, places=places
            )
        except (UnknownSession, SessionBusy) as error:
            return Finished(key, None, error.reason, error.message)
        except DatabaseError:
            raise
        except Exception as error:  # a defect: it must not take the other sessions of the run with it
            logger.exception("session %s", key)
            failure = UnexpectedError.of(error)
            return Finished(key, None, failure.reason, failure.message)
    return Finished(key, outcome, outcome.reason, outcome.message)


def _note_reported(engine: Engine, session_ids: list[UUID]) -> None:
    """Remember that Dagster was told of these."""
    with transaction(engine) as connection:
        partitions.set_reported(connection, session_ids)


def extract_and_report(
    context: OpExecutionContext,
    engine: Engine,
    partition_keys: Sequence[str],
    settings: Settings,
    *,
    recompute: bool,
    stale: bool = False,
) -> None:
    """Walk the keys of a run; each partition is materialized as its session ends, failures fail the run at the end.

    Raises
    ------
    Failure
        Names the sessions that failed: Dagster then marks exactly those partitions as failed, the run's planned
        ones that were not materialized.
    """
    failed: list[Finished] = []
    computed = 0
    with about(run_id=context.run_id, batch=context.run.tags.get(BATCH_TAG)), run_lock(engine, context.run_id):
        for ended in walk_sessions(
            engine, partition_keys, settings, run_id=context.run_id, recompute=recompute, stale=stale
        ):
            featured = [item.outcome for item in ended if item.outcome is not None and item.outcome.has_features]
            if featured:
                report_materializations(context, [(each.session_id, each.summary) for each in featured], settings)
                _note_reported(engine, [each.session_id for each in featured])
            computed += sum(outcome.computed for outcome in featured)
            for item in ended:
                if item.outcome is None or not item.outcome.has_features:
                    ids = {"session_id": item.partition_key, "reason": item.reason}
                    context.log.warning("session %s: %s", item.partition_key, item.message, extra=ids)
                    failed.append(item)
    context.log.info("%d sessions: %d computed, %d failed", len(partition_keys), computed, len(failed))
    if failed:
        raise Failure(
            description=f"{len(failed)} of {len(partition_keys)} sessions failed: "
            + ", ".join(f"{item.partition_key} ({item.reason})" for item in failed),
            metadata={item.partition_key: f"{item.reason}: {item.message}" for item in failed[:100]},
            allow_retries=False,
        )
