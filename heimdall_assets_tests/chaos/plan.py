"""What is broken when: a plan that a seed decides, so that a run that found something can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from heimdall_assets_tests.chaos.points import KILL_POINTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MINUTE_S = 60.0


class Kind(StrEnum):
    """What can be done to a running system."""

    KILL_RUN = "kill_run"  # SIGKILL of a run worker, wherever it is
    KILL_AT_POINT = "kill_at_point"  # of whichever process comes to a named point next
    KILL_STARTER = "kill_starter"  # of what runs are started from: a code server, what they are forked from, a worker
    KILL_DAEMON = "kill_daemon"  # alone: its runs are orphans
    KILL_ALL = "kill_all"  # daemon, starters and runs at once
    POWER_CUT = "power_cut"  # the same and PostgreSQL, which does not shut down
    RESTART_POSTGRES = "restart_postgres"  # it ends connections and comes back
    CRASH_POSTGRES = "crash_postgres"  # immediate mode: it recovers from its log
    TAKE_FILES_AWAY = "take_files_away"  # the folder of all recordings, for a while
    FAIL_READS = "fail_reads"  # the store answers with errors, for a while
    TRUNCATE_FILE = "truncate_file"
    DELETE_FILE = "delete_file"
    SECOND_DAEMON = "second_daemon"  # by mistake, for a while
    UI_BACKFILL = "ui_backfill"  # of many keys, as Dagster's UI launches it
    REQUEST = "request"  # `heimdall backfill`


KILLS = (Kind.KILL_RUN, Kind.KILL_AT_POINT, Kind.KILL_STARTER, Kind.KILL_DAEMON, Kind.KILL_ALL)
EACH_MINUTE = (*[Kind.KILL_RUN] * 3, *[Kind.KILL_AT_POINT] * 3)
"""Kills of every minute, of what is at work; one of SUPERVISORS is added."""
SUPERVISORS = (Kind.KILL_DAEMON, Kind.KILL_STARTER, Kind.KILL_ALL)
"""In turn, so that each of them strikes."""


@dataclass(frozen=True, order=True, slots=True)
class Fault:
    """One thing that is done.

    Attributes
    ----------
    at_s : float
        Seconds after the start.
    kind : Kind
        What.
    point : str
        Of KILL_AT_POINT: where.
    lasts_s : float
        Of what lasts for a while, how long; of a restart, how long the server is away.
    choice : float
        In [0, 1): which of several processes or files.
    """

    at_s: float
    kind: Kind
    point: str = ""
    lasts_s: float = 0.0
    choice: float = 0.0


def make_plan(seed: int, minutes: float, *, points: Sequence[str] = tuple(KILL_POINTS)) -> list[Fault]:
    """The faults of a run, in order.

    Parameters
    ----------
    seed : int
        Decides everything.
    minutes : float
        How long the faults go on; a fraction of a minute has its share of them.
    points : sequence of str
        Where processes kill themselves; each comes before any comes again.
    """
    rng = random.Random(seed)
    faults = [fault for fault in _whole_minutes(rng, points, int(minutes) + 1) if fault.at_s < minutes * MINUTE_S]
    return sorted(faults)


def _whole_minutes(rng: random.Random, points: Sequence[str], count: int) -> Iterator[Fault]:
    deck: list[str] = []
    supervisors = rng.sample(SUPERVISORS, len(SUPERVISORS))
    crash_first = rng.random() < 0.5
    for minute in range(count):
        start_s = minute * MINUTE_S
        kills = [*EACH_MINUTE, supervisors[minute % len(supervisors)]]
        rng.shuffle(kills)
        for slot, kind in enumerate(kills):
            if not deck:
                deck = rng.sample(list(points), len(points))
            yield Fault(
                at_s=start_s + (slot + rng.random()) * MINUTE_S / len(kills),
                kind=kind,
                point=deck.pop() if kind is Kind.KILL_AT_POINT else "",
                choice=rng.random(),
            )
        if minute % 5 == 3:
            postgres = Kind.POWER_CUT
        else:
            postgres = Kind.CRASH_POSTGRES if (minute % 2 == 0) == crash_first else Kind.RESTART_POSTGRES
        yield Fault(start_s + rng.uniform(5, 55), postgres, lasts_s=rng.uniform(0.5, 6.0))
        outage = Kind.TAKE_FILES_AWAY if minute % 2 else Kind.FAIL_READS
        yield Fault(start_s + rng.uniform(5, 55), outage, lasts_s=rng.uniform(8, 25))
        for kind in (Kind.TRUNCATE_FILE, Kind.DELETE_FILE):
            for half in range(2):
                at_s = start_s + (half + rng.random()) * MINUTE_S / 2
                yield Fault(at_s, kind, choice=rng.random())
        yield Fault(start_s + rng.uniform(15, 60), Kind.UI_BACKFILL, choice=rng.random())
        yield Fault(start_s + rng.uniform(10, 60), Kind.REQUEST, choice=rng.random())
        if minute % 2 == 1:
            yield Fault(start_s + rng.uniform(0, 30), Kind.SECOND_DAEMON, lasts_s=rng.uniform(20, 40))
