"""Waiting until everything has come to rest."""

from __future__ import annotations

import time
import urllib.error
from typing import TYPE_CHECKING

from heimdall_assets.errors import DatabaseError
from heimdall_assets_tests.dagster_api import BACKFILL_ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heimdall_assets_tests.system import System

POLL_S = 1.0

OPEN = """
    SELECT (SELECT count(*) FROM heimdall.recording_sessions s
            WHERE s.status = 'completed' AND NOT EXISTS (
                SELECT 1 FROM heimdall.feature_states fs WHERE fs.recording_session_id = s.id)),
           (SELECT count(*) FROM heimdall.feature_states
            WHERE state IN ('pending', 'running', 'failed') OR reserved_by IS NOT NULL OR next_attempt_at IS NOT NULL),
           (SELECT count(*) FROM heimdall.feature_states
            WHERE state IN ('done', 'partial') AND reported_at IS NULL),
           (SELECT count(*) FROM heimdall.feature_requests WHERE finished_at IS NULL)"""
NAMES = ("sessions that nobody has discovered", "sessions to be worked on", "features not reported", "open requests")


def what_is_open(system: System, backfills: Sequence[str]) -> list[str]:
    """What has not come to its end; empty at rest. Says so where nobody answers."""
    try:
        (counts,) = system.factory.rows(OPEN)
        found = [f"{count} {name}" for count, name in zip(counts, NAMES, strict=True) if count]
        if runs := system.api.open_runs():
            found.append(f"{len(runs)} runs ({', '.join(sorted({run['status'] for run in runs}))})")
        statuses = {identity: system.api.backfill_status(identity) for identity in backfills}
    except (DatabaseError, urllib.error.URLError, OSError, AssertionError) as error:
        return [f"no answer: {error!s:.120}"]
    return found + [f"backfill {key} ({status})" for key, status in statuses.items() if status not in BACKFILL_ENDED]


def drain(system: System, backfills: Sequence[str], patience_s: float, watch: Callable[[list[str]], None]) -> list[str]:
    """Wait for rest, for as long as attempts go on ending; returns what is still open when none has for a while.

    A slow machine takes its time, and is not wrong. Attempts are bounded, so that this ends.
    """
    ended, deadline = -1, time.monotonic() + patience_s
    while remaining := what_is_open(system, backfills):
        watch(remaining)
        if (now_ended := _attempts_ended(system)) > ended:
            ended, deadline = now_ended, time.monotonic() + patience_s
        if time.monotonic() > deadline:
            return remaining
        time.sleep(POLL_S)
    return []


def _attempts_ended(system: System) -> int:
    try:
        return int(system.factory.scalar("SELECT count(finished_at) FROM heimdall.feature_attempts"))
    except DatabaseError:
        return -1
