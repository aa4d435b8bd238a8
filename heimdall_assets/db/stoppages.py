"""Stoppages: the errors that keep the sensor, the schedule or their reports from their work, until they succeed again.

A tick that fails takes its transaction back, and with it its own sign of life. So what stopped it is written down
apart, for `/health`, `heimdall doctor`, the dashboard and an asset check.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db.engine import transaction
from heimdall_assets.db.tables import feature_stoppages as stoppages
from heimdall_assets.errors import DatabaseError, HeimdallError, UnexpectedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy.engine import Connection, Engine

SENSOR, SCHEDULE, REPORTS = "sensor", "schedule", "reports"

LONGEST_S = 60.0
"""A task that has failed for longer than this, more than once, is stopped: a single failure is over by itself."""

MOST_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Stoppage:
    """A task that fails.

    Attributes
    ----------
    task : str
        sensor, schedule or reports.
    since, last_at : datetime
        Its first failure since it last succeeded, and its latest.
    failures : int
        How many there were.
    reason, message : str
        Of the latest.
    is_lasting : bool
        True if it has failed more than once, for longer than a minute.
    """

    task: str
    since: datetime
    last_at: datetime
    failures: int
    reason: str
    message: str
    is_lasting: bool

    @property
    def stops_planning(self) -> bool:
        """True if sessions wait for it: reports come after planning."""
        return self.task != REPORTS

    @property
    def in_words(self) -> str:
        """For people."""
        times = "once" if self.failures == 1 else f"{self.failures} times"
        return f"the {self.task} failed {times} since {self.since:%Y-%m-%d %H:%M:%S} UTC: {self.reason}: {self.message}"


def note(engine: Engine, task: str, error: BaseException) -> None:
    """Write down that a task failed, in a transaction of its own; nothing where the database cannot take it."""
    known = error if isinstance(error, HeimdallError) else UnexpectedError(f"{type(error).__name__}: {error}")
    now = sa.func.clock_timestamp()
    values = {"reason": known.reason, "message": known.message[:MOST_CHARACTERS]}
    later = {**values, "last_at": now, "failures": stoppages.c.failures + 1}
    statement = insert(stoppages).values(task=task, **values)
    with suppress(DatabaseError), transaction(engine) as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=[stoppages.c.task], set_=later))


def clear(engine: Engine, task: str) -> None:
    """The task has succeeded; what it did is not taken back where the database is away by now."""
    with suppress(DatabaseError), transaction(engine) as connection:
        connection.execute(sa.delete(stoppages).where(stoppages.c.task == task))


@contextmanager
def noted(engine: Engine, task: str) -> Iterator[None]:
    """Write down what the block raises, which goes on its way; clear what was written where it does not."""
    try:
        yield
    except Exception as error:
        note(engine, task, error)
        raise
    clear(engine, task)


def current(connection: Connection) -> list[Stoppage]:
    """The tasks that fail now, by name."""
    age_s = sa.func.extract("epoch", sa.func.clock_timestamp() - stoppages.c.since)
    is_lasting = sa.and_(stoppages.c.failures > 1, age_s > LONGEST_S)
    query = sa.select(stoppages, is_lasting.label("is_lasting")).order_by(stoppages.c.task)
    return [Stoppage(**row) for row in connection.execute(query).mappings()]
