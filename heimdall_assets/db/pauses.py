"""The switch that holds planning, in PostgreSQL so that every process sees it: who paused, when and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.locks import await_planner
from heimdall_assets.db.tables import feature_pauses as pauses
from heimdall_assets.errors import Paused, SettingError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

MOST_REASON_CHARACTERS = 300
REASON = r"[^\x00-\x1f\x7f-\x9f]*"
"""A line of text: no control characters."""
_OPEN = pauses.c.resumed_at.is_(None)


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing is planned.

    Attributes
    ----------
    paused_at : datetime
        By the database's clock.
    paused_by : str
        ``cli USER`` or ``api NAME``.
    reason : str or None
        In the words of whoever paused.
    """

    paused_at: datetime
    paused_by: str
    reason: str | None

    @property
    def in_words(self) -> str:
        """One line: ``paused since 2026-01-31 12:00 UTC by cli ada: new disks``."""
        since = f"{self.paused_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return f"paused since {since} by {self.paused_by}" + (f": {self.reason}" if self.reason else "")


def current_pause(connection: Connection) -> Pause | None:
    """The pause that holds now; None while planning goes on."""
    row = connection.execute(
        sa.select(pauses.c.paused_at, pauses.c.paused_by, pauses.c.reason).where(_OPEN)
    ).one_or_none()
    return None if row is None else Pause(*row)


def require_running(connection: Connection) -> None:
    """Raise where somebody paused: for those who would wait for sensor or schedule in vain.

    Raises
    ------
    Paused
        Says since when, by whom, why, and what to do.
    """
    held = current_pause(connection)
    if held is not None:
        raise Paused(f"{held.in_words}; `heimdall resume` ends it")


def pause(connection: Connection, *, by: str, reason: str | None = None) -> tuple[Pause, bool]:
    """Hold planning from the next tick on; a tick that is under way is waited for.

    Where it is held already it stays as it is, with the first one's name and reason.

    Returns
    -------
    tuple of (Pause, bool)
        What holds now, and whether it is new.

    Raises
    ------
    SettingError
        The reason is too long, or no line of text.
    """
    if reason is not None and not _is_line(reason):
        most = MOST_REASON_CHARACTERS
        raise SettingError(f"the reason {reason[:40]!r} is not allowed: one line of text, at most {most} characters")
    await_planner(connection)  # what it plans just now is planned; also two that pause at once take turns
    held = current_pause(connection)
    if held is not None:
        return held, False
    row = connection.execute(
        insert(pauses)
        .values(paused_by=by, reason=reason or None)
        .returning(pauses.c.paused_at, pauses.c.paused_by, pauses.c.reason)
    ).one()
    return Pause(*row), True


def _is_line(text: str) -> bool:
    # Arguments that are no UTF-8 come as half characters, which no database takes.
    is_text = not re.search(r"[\ud800-\udfff]", text)
    return len(text) <= MOST_REASON_CHARACTERS and is_text and re.fullmatch(REASON, text) is not None


def resume(connection: Connection, *, by: str) -> Pause | None:
    """Let planning go on.

    Returns
    -------
    Pause or None
        What had held it; None where nothing did.
    """
    row = connection.execute(
        sa.update(pauses)
        .where(_OPEN)
        .values(resumed_at=sa.func.clock_timestamp(), resumed_by=by)
        .returning(pauses.c.paused_at, pauses.c.paused_by, pauses.c.reason)
    ).one_or_none()
    return None if row is None else Pause(*row)
