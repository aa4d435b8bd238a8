"""Carrying out the plan: each fault at its time, and everything whole again at the end."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import signal
import subprocess
import sys
import time
import urllib.error
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from heimdall_assets.errors import DatabaseError
from heimdall_assets.processes import Processes
from heimdall_assets.services import start_daemon
from heimdall_assets_tests.chaos.arrivals import DELETION, TRUNCATION
from heimdall_assets_tests.chaos.plan import MINUTE_S, Fault, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import psutil

    from heimdall_assets_tests.chaos.arrivals import Arrivals
    from heimdall_assets_tests.chaos.points import Markers
    from heimdall_assets_tests.chaos.targets import Targets
    from heimdall_assets_tests.system import System

logger = logging.getLogger(__name__)

POLL_S = 0.25
PATIENCE_S = 60.0
"""How long a fault waits for something that it can hit: after some others nothing runs for a while."""

BACKFILLED = 25
REQUESTS = (("--all",), ("--limit", "30"), ("--retry-failed",))


@dataclass
class Faults:
    """Carries out a plan.

    Parameters
    ----------
    system : System
        What is broken.
    arrivals : Arrivals
        Whose files are damaged.
    targets : Targets
        Its processes.
    markers : Markers
        Its fault points.
    """

    system: System
    arrivals: Arrivals
    targets: Targets
    markers: Markers
    done: Counter[str] = field(default_factory=Counter)
    backfills: list[str] = field(default_factory=list)
    _heap: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)
    _started: float = 0.0
    _commands: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _second: Processes | None = None

    def carry_out(self, plan: Sequence[Fault], seconds: float) -> None:
        """Do everything at its time, for so many seconds; what lasts for a while is over at the end."""
        self._started = time.monotonic()
        for fault in plan:
            self._at(fault.at_s, partial(self._attempt, fault))
        self._at(seconds, lambda: None)
        try:
            while self._heap and self._heap[0][0] <= seconds:
                at_s, _, action = heapq.heappop(self._heap)
                self._wait_until(at_s)
                action()
        finally:
            self._restore()

    @property
    def kills(self) -> int:
        """Processes that were killed, or killed themselves at a point."""
        return self.targets.kills + len(self.markers.struck())

    def _at(self, at_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (at_s, next(self._order), action))

    def _now_s(self) -> float:
        return time.monotonic() - self._started

    def _wait_until(self, at_s: float) -> None:
        while True:
            self.arrivals.check()
            self.targets.note_deaths()
            left_s = at_s - self._now_s()
            if left_s <= 0:
                return
            time.sleep(min(POLL_S, left_s))

    def _attempt(self, fault: Fault) -> None:
        """Do it; where there is nothing to hit yet, a moment later."""
        if self._actions[fault.kind](self, fault):
            logger.info("%5.1f s  %s %s", self._now_s(), fault.kind, fault.point)
            self.done[fault.kind] += 1
        elif self._now_s() < fault.at_s + PATIENCE_S:
            self._at(self._now_s() + POLL_S, partial(self._attempt, fault))
        else:
            logger.info("%5.1f s  %s: nothing to hit", self._now_s(), fault.kind)

    def _kill_run(self, fault: Fault) -> bool:
        return self._kill_one_of(self.targets.runs(), fault)

    def _kill_starter(self, fault: Fault) -> bool:
        return self._kill_one_of(self.targets.starters(), fault)

    def _kill_one_of(self, found: list[psutil.Process], fault: Fault) -> bool:
        return bool(found) and self.targets.kill(found[int(fault.choice * len(found))])

    def _kill_at_point(self, fault: Fault) -> bool:
        self.markers.arm(fault.point)
        return True

    def _kill_daemon(self, fault: Fault) -> bool:
        self.targets.kill_daemon(with_all=fault.kind is Kind.KILL_ALL)
        return True

    def _restart_postgres(self, fault: Fault) -> bool:
        if fault.kind is Kind.POWER_CUT:
            how = signal.SIGKILL
        else:
            how = signal.SIGQUIT if fault.kind is Kind.CRASH_POSTGRES else signal.SIGINT
        self.targets.stop_postgres(how)
        if fault.kind is Kind.POWER_CUT:
            self.targets.kill_daemon(with_all=True)  # which starts another, as a service manager does at boot
        time.sleep(fault.lasts_s)
        self.targets.start_postgres()
        return True

    def _take_files_away(self, fault: Fault) -> bool:
        root = self.system.factory.root
        root.rename(root.with_suffix(".away"))
        self._at(self._now_s() + fault.lasts_s, self._bring_files_back)
        return True

    def _bring_files_back(self) -> None:
        root = self.system.factory.root
        with contextlib.suppress(FileNotFoundError):
            root.with_suffix(".away").rename(root)

    def _fail_reads(self, fault: Fault) -> bool:
        self.markers.fail_reads(fail=True)
        self._at(self._now_s() + fault.lasts_s, lambda: self.markers.fail_reads(fail=False))
        return True

    def _damage_file(self, fault: Fault) -> bool:
        kind = TRUNCATION if fault.kind is Kind.TRUNCATE_FILE else DELETION
        if kind == DELETION and fault.at_s > self.arrivals.seconds / 2:
            return True  # there would not be the time to give the session up
        found = self.arrivals.damageable(is_waiting=fault.choice < 0.7)
        return bool(found) and self.arrivals.damage(found[int(fault.choice * 1000) % len(found)], kind)

    def _start_second_daemon(self, fault: Fault) -> bool:
        if self._second is None:
            self._second = Processes(self.system.environment, self.targets.log_folder / "second")
            start_daemon(self._second)
            self._at(self._now_s() + fault.lasts_s, self._stop_second_daemon)
        return True

    def _stop_second_daemon(self) -> None:
        if self._second is not None:
            self._second.stop()
            self._second = None

    def _backfill(self, fault: Fault) -> bool:
        query = """
            SELECT recording_session_id FROM heimdall.feature_states WHERE registered_at IS NOT NULL
            ORDER BY registered_at DESC LIMIT :count OFFSET :skipped"""
        try:
            rows = self.system.factory.rows(query, count=BACKFILLED, skipped=int(fault.choice * 40))
            if rows:
                self.backfills.append(self.system.api.launch_backfill([str(key) for (key,) in rows]))
        except (DatabaseError, AssertionError, urllib.error.URLError, OSError) as error:
            logger.info("no backfill yet: %.120s", error)
            return False
        return bool(rows)

    def _request(self, fault: Fault) -> bool:
        options = REQUESTS[int(fault.choice * len(REQUESTS))]
        command = [sys.executable, "-m", "heimdall_assets.cli", "backfill", *options, "--json"]
        self._commands.append(
            subprocess.Popen(command, env=self.system.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        return True

    def _restore(self) -> None:
        """Let everything be whole again: from here on the system has to help itself."""
        self.markers.disarm()
        self._bring_files_back()
        self._stop_second_daemon()
        for command in self._commands:
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(MINUTE_S)

    _actions: ClassVar[Mapping[Kind, Callable[[Faults, Fault], bool]]] = {
        Kind.KILL_RUN: _kill_run,
        Kind.KILL_AT_POINT: _kill_at_point,
        Kind.KILL_STARTER: _kill_starter,
        Kind.KILL_DAEMON: _kill_daemon,
        Kind.KILL_ALL: _kill_daemon,
        Kind.POWER_CUT: _restart_postgres,
        Kind.RESTART_POSTGRES: _restart_postgres,
        Kind.CRASH_POSTGRES: _restart_postgres,
        Kind.TAKE_FILES_AWAY: _take_files_away,
        Kind.FAIL_READS: _fail_reads,
        Kind.TRUNCATE_FILE: _damage_file,
        Kind.DELETE_FILE: _damage_file,
        Kind.SECOND_DAEMON: _start_second_daemon,
        Kind.UI_BACKFILL: _backfill,
        Kind.REQUEST: _request,
    }
