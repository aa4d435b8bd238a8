"""Whether planning goes on, and what keeps it: worked out once, for `/health`, doctor, dashboard and asset checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from heimdall_assets.db import pauses, stoppages
from heimdall_assets.db.heartbeats import DAEMON_SILENCE_S, PLANNER, seconds_since
from heimdall_assets.db.states import database_time
from heimdall_assets.errors import BadRow

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy.engine import Connection


_BAD_ROWS = """
    SELECT count(*) AS sessions,
           (array_agg(fs.recording_session_id ORDER BY fs.completed_at DESC, fs.recording_session_id))[1] AS example_id,
           (array_agg(fs.message ORDER BY fs.completed_at DESC, fs.recording_session_id))[1] AS message
    FROM heimdall.feature_states fs
    WHERE fs.state IN ('failed', 'quarantined') AND fs.reason = :reason"""


@dataclass(frozen=True, slots=True)
class BadRows:
    """Sessions that fail since a row of Heimdall holds a value that cannot be worked with."""

    sessions: int
    example_id: UUID
    message: str

    @property
    def in_words(self) -> str:
        """For people; names table, column and value of one."""
        fail = "1 session fails" if self.sessions == 1 else f"{self.sessions:,} sessions fail"
        return f"{fail} for a value that cannot be worked with; session {self.example_id}: {self.message}"


def bad_rows(connection: Connection) -> BadRows | None:
    """The sessions that fail by what their rows hold; None where there are none."""
    row = connection.execute(sa.text(_BAD_ROWS), {"reason": BadRow.reason}).one()
    return BadRows(row.sessions, row.example_id, row.message or "") if row.sessions else None


@dataclass(frozen=True, slots=True)
class Condition:
    """How it stands.

    Attributes
    ----------
    daemon : {"ok", "silent"}
        Whether a daemon was at work a moment ago, with or without success.
    planning : {"on", "paused", "stopped"}
        stopped: it fails, for longer than a minute.
    reasons : tuple of str
        Why sessions are not planned although no pause is set; empty where they are.
    warnings : tuple of str
        What else an operator should look at.
    """

    daemon: Literal["ok", "silent"]
    planning: Literal["on", "paused", "stopped"]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def condition(connection: Connection, *, turned_off: Collection[str] = ()) -> Condition:
    """How planning stands now.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    turned_off : collection of str
        Sensors and schedules that were stopped in Dagster, whose daemon is alive.
    """
    now = database_time(connection)
    failing = stoppages.current(connection)
    silence_s = seconds_since(connection, PLANNER)
    is_failing_now = any(
        each.stops_planning and (now - each.last_at).total_seconds() < DAEMON_SILENCE_S for each in failing
    )
    is_silent = not is_failing_now and (silence_s is None or silence_s >= DAEMON_SILENCE_S)
    pause = pauses.current_pause(connection)
    stopped = [each.in_words for each in failing if each.is_lasting and each.stops_planning]
    reasons, warnings = list(stopped), [each.in_words for each in failing if each.in_words not in stopped]
    if is_silent and not turned_off:
        since = "no daemon has ever planned" if silence_s is None else f"no daemon has planned for {silence_s:.0f} s"
        reasons.append(since)
    if pause is not None:
        warnings.append(pause.in_words)
    if (bad := bad_rows(connection)) is not None:
        warnings.append(bad.in_words)
    warnings += [f"{name} is stopped in Dagster" for name in turned_off]
    return Condition(
        daemon="silent" if is_silent else "ok",
        planning="stopped" if stopped else "on" if pause is None else "paused",
        reasons=tuple(reasons),
        warnings=tuple(warnings),
    )
