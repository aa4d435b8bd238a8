"""Sessions that arrive all the time, and what is to become of each."""

from __future__ import annotations

import math
import os
import random
import shutil
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db import tables
from heimdall_assets.db.engine import transaction
from heimdall_assets.errors import DatabaseUnavailable
from heimdall_assets_tests.factory import GOOD, TRUNCATED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from heimdall_assets_tests.factory import SessionFactory

A_MINUTE = 75
"""Arrivals; those that an outage of the database kept waiting come together after it."""

RETRY_S = 0.3
TRUNCATION, DELETION = "truncated", "not_found"
"""What may happen to files: the reason for which an attempt that meets it fails."""
DRAWER = ("own", "late", "never")
"""Folders below the root of the recordings, of files that are one session's alone."""


class Sort(StrEnum):
    """How a session is born."""

    GOOD = "good"
    RECORDED = "recorded"  # written while it is recorded, completed later
    OWN = "own"  # its files are its own, and may be damaged
    LATE = "late"  # all of its files come later
    LATE_RECEIVER = "late_receiver"  # one of them does
    PARTIAL = "partial"  # one receiver's file is truncated
    BROKEN = "broken"  # all are
    EMPTY = "empty"  # no measurement has IQ data
    NEVER = "never"  # its files never come
    POISONOUS = "poisonous"  # its row holds a value that nobody can work with


WEIGHTS = {
    Sort.GOOD: 40,
    Sort.RECORDED: 12,
    Sort.OWN: 18,
    Sort.LATE: 6,
    Sort.LATE_RECEIVER: 6,
    Sort.PARTIAL: 7,
    Sort.BROKEN: 5,
    Sort.EMPTY: 4,
    Sort.NEVER: 2,
}
"""Share of each sort in what arrives, per cent; besides, one in a minute is poisonous."""

POISON: tuple[dict[str, Any], ...] = (
    {"session_start": "infinity"},
    {"session_start": "56880-01-01 00:00+00"},
    {"duration_seconds": math.nan},
    {"session_end": "-infinity"},
    {"updated_at": "infinity"},
    {"created_at": "4714-11-24 00:00+00 BC"},
)
"""What a poisonous session holds, in turn."""


@dataclass
class Arrival:
    """A session that the driver wrote, and what it knows of it.

    Attributes
    ----------
    session_id : UUID
        The session.
    sort : Sort
        How it was born.
    damage : str or None
        What happened to its files: TRUNCATION or DELETION.
    damaged_from, damaged_until : datetime or None
        The moments before and after they did.
    """

    session_id: UUID
    sort: Sort
    damage: str | None = None
    damaged_from: datetime | None = None
    damaged_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """How a session has to end: in one of the states; without features, for one of the reasons."""

    states: frozenset[str]
    reasons: frozenset[str] = frozenset()


def expected_of(arrival: Arrival) -> Expected:
    """What is to become of a session, whatever is killed meanwhile."""
    quarantined, gone = frozenset({"quarantined"}), frozenset({"not_found", "store_unavailable", "worker_lost"})
    if arrival.damage is not None:
        # It depends on what was first, the computation or the damage; which may also come between two receivers.
        reasons = frozenset({TRUNCATION}) if arrival.damage == TRUNCATION else gone
        return Expected(quarantined | {"done", "partial"}, reasons)
    return {
        Sort.PARTIAL: Expected(frozenset({"partial"})),
        Sort.BROKEN: Expected(quarantined, frozenset({TRUNCATION})),
        Sort.EMPTY: Expected(frozenset({"empty"})),
        Sort.POISONOUS: Expected(quarantined, frozenset({"bad_row", "worker_lost"})),
        Sort.NEVER: Expected(quarantined, gone),  # the last of its attempts may have met something else
    }.get(arrival.sort, Expected(frozenset({"done"})))


@dataclass
class Arrivals:
    """Writes sessions in a thread of its own, as Heimdall's other services do.

    Parameters
    ----------
    factory : SessionFactory
        Writes them.
    seed : int
        Decides their sorts and what is late by how much.
    seconds : float
        How long they arrive. Those whose files never come do so in the first half: they need time to be given up.
    """

    factory: SessionFactory
    seed: int
    seconds: float
    known: list[Arrival] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        root = self.factory.root
        self.factory.write_files()
        for name in DRAWER:
            (root / name).mkdir(exist_ok=True)
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until everything has arrived, late files included."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End early."""
        self._stopped.set()

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._error is not None:
            raise self._error

    def damageable(self, *, is_waiting: bool) -> list[Arrival]:
        """Sessions with files of their own that nobody has damaged; only those of the last seconds, if so asked."""
        with self._guard:
            found = [arrival for arrival in self.known if arrival.sort is Sort.OWN and arrival.damage is None]
        return found[-5:] if is_waiting else found

    def damage(self, arrival: Arrival, kind: str) -> bool:
        """Truncate or delete the file of a session that has its own; False while the folder is away."""
        path = self.factory.root / _own(arrival.session_id)
        before = datetime.now(UTC)
        try:
            if kind == TRUNCATION:
                os.truncate(path, path.stat().st_size // 2)  # at once: nobody sees it empty
            else:
                path.unlink()
        except FileNotFoundError:
            return False
        arrival.damage, arrival.damaged_from, arrival.damaged_until = kind, before, datetime.now(UTC)
        return True

    def _run(self) -> None:
        try:
            self._arrive()
        except BaseException as error:  # noqa: BLE001  # a thread's failure is the driver's: check() raises it there
            self._error = error

    def _arrive(self) -> None:
        rng = random.Random(f"arrivals {self.seed}")
        started = time.monotonic()
        count = round(self.seconds * A_MINUTE / 60)
        later: list[tuple[float, Path | UUID]] = []
        for index in range(count):
            due_s = index * 60 / A_MINUTE
            self._do_later(later, started, until_s=due_s)
            if self._stopped.is_set():
                return
            sorts = [sort for sort in WEIGHTS if sort is not Sort.NEVER or due_s < self.seconds / 2]
            (sort,) = rng.choices(sorts, [WEIGHTS[each] for each in sorts])
            minute, place = divmod(index, A_MINUTE)
            if place == A_MINUTE // 3:
                sort = Sort.POISONOUS
            arrival = Arrival(uuid.UUID(int=rng.getrandbits(128), version=4), sort)
            moment_s = due_s + rng.uniform(5, 40)
            if sort in {Sort.LATE, Sort.LATE_RECEIVER}:
                later.append((moment_s, self.factory.root / _late(arrival.session_id)))
            elif sort is Sort.RECORDED:
                later.append((due_s + rng.uniform(2, 10), arrival.session_id))
            self._write(arrival, POISON[minute % len(POISON)] if sort is Sort.POISONOUS else {})
            with self._guard:
                self.known.append(arrival)
        self._do_later(later, started, until_s=self.seconds)
        self._do_later(later, started, until_s=self.seconds + 60, is_hurry=True)

    def _do_later(
        self, later: list[tuple[float, Path | UUID]], started: float, *, until_s: float, is_hurry: bool = False
    ) -> None:
        """Wait until a moment, and do meanwhile what is due by then; in a hurry without waiting."""
        while not self._stopped.is_set():
            later.sort(key=lambda item: item[0])
            next_s = min(until_s, later[0][0]) if later else until_s
            if not is_hurry:
                self._stopped.wait(max(0.0, started + next_s - time.monotonic()))
            if not later or later[0][0] > until_s:
                return
            _, what = later.pop(0)
            if isinstance(what, uuid.UUID):
                self._complete(what)
            else:
                self._deliver(what)

    def _deliver(self, path: Path) -> None:
        """Let a file come; whole at once, as uploads do."""
        root = self.factory.root
        while not self._stopped.is_set():
            try:
                shutil.copyfile(root / GOOD, path.with_suffix(".part"))
                path.with_suffix(".part").rename(path)
            except FileNotFoundError:  # the folder is away
                self._stopped.wait(RETRY_S)
            else:
                return

    def _write(self, arrival: Arrival, poison: Mapping[str, Any]) -> None:
        if arrival.sort is Sort.OWN:
            self._deliver(self.factory.root / _own(arrival.session_id))
        now = datetime.now(UTC)
        columns: dict[str, Any] = {"created_at": now, "updated_at": now, **poison}
        status = "recording" if arrival.sort is Sort.RECORDED else "completed"
        while not self._stopped.is_set():
            try:
                if not self._is_written(arrival.session_id):
                    self.factory.add_many(
                        1,
                        _locations(arrival),
                        status=status,
                        ids=[arrival.session_id],
                        **columns,
                    )
            except DatabaseUnavailable:  # whether it was committed is looked up when the server is back
                self._stopped.wait(RETRY_S)
            else:
                return

    def _is_written(self, session_id: UUID) -> bool:
        query = "SELECT count(*) FROM heimdall.recording_sessions WHERE id = :id"
        return bool(self.factory.scalar(query, id=session_id))

    def _complete(self, session_id: UUID) -> None:
        table = tables.recording_sessions
        statement = sa.update(table).where(table.c.id == session_id)
        while not self._stopped.is_set():
            try:
                with transaction(self.factory.engine) as connection:
                    connection.execute(statement.values(status="completed", updated_at=sa.func.now()))
            except DatabaseUnavailable:
                self._stopped.wait(RETRY_S)
            else:
                return


def _own(session_id: UUID) -> str:
    return f"own/{session_id}.npy"


def _late(session_id: UUID) -> str:
    return f"late/{session_id}.npy"


def _locations(arrival: Arrival) -> Sequence[str | None]:
    key = arrival.session_id
    return {
        Sort.OWN: (_own(key),) * 3,
        Sort.LATE: (_late(key),) * 3,
        Sort.LATE_RECEIVER: (GOOD, GOOD, _late(key)),
        Sort.PARTIAL: (GOOD, GOOD, TRUNCATED),
        Sort.BROKEN: (TRUNCATED,) * 3,
        Sort.EMPTY: (None,) * 3,
        Sort.NEVER: (f"never/{key}.npy",) * 3,
    }.get(arrival.sort, (GOOD,) * 3)
