"""Does it survive a bad week: ``python -m heimdall_assets_tests.chaos [--minutes 5] [--seed N] [--json]``.

A PostgreSQL, a webserver and a daemon of its own, in a temporary home; with ``--launcher celery`` also a Redis and two
workers, which carry out the runs. Sessions arrive all the time, whole and broken ones, while a seeded plan kills
processes, breaks the database, damages files and asks for the same work twice. Then everything is left alone until it
has come to rest, and the database says whether anything was lost, computed twice, or is shown as what it is not. Exits
1 if anything is.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets import embedded
from heimdall_assets.db import heartbeats
from heimdall_assets.db.engine import autocommit, open_engine, transaction
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.services import start_worker
from heimdall_assets.settings import load_settings
from heimdall_assets_tests.brokers import broker
from heimdall_assets_tests.chaos import checks
from heimdall_assets_tests.chaos.arrivals import Arrivals
from heimdall_assets_tests.chaos.faults import Faults
from heimdall_assets_tests.chaos.plan import MINUTE_S, make_plan
from heimdall_assets_tests.chaos.points import FOLDER_VARIABLE, Markers, write_hook
from heimdall_assets_tests.chaos.rest import drain
from heimdall_assets_tests.chaos.targets import Targets
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.system import running_system

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.chaos.checks import Violation
    from heimdall_assets_tests.system import System

logger = logging.getLogger("heimdall_assets_tests.chaos")

PATIENCE_MINUTES = 5.0
"""More than the 180 s after which a run is given up of whose process nothing is known."""
LAUNCHERS = ("default", "celery")
WORKERS = 2
MOST_EXAMPLES = 10
ENVIRONMENT = {
    "HEIMDALL_BATCH_SIZE": "15",  # many runs, so that many are hit
    "HEIMDALL_WORKERS": "2",
    # Waits that fit into some minutes, and as many attempts as the outages of the plan take at the most.
    "HEIMDALL_MAX_ATTEMPTS": "8",
    "HEIMDALL_RETRY_BASE_SECONDS": "2",
    "HEIMDALL_RETRY_MAX_SECONDS": "8",
}


@dataclass(frozen=True)
class Report:
    """What a run has shown; the last three of the first six have to be 0."""

    sessions: int
    kills: int
    restarts: int
    computed_twice: int
    lost: int
    wrong_state: int
    seed: int
    minutes: float
    launcher: str
    seconds: float
    drained_in_seconds: float | None
    faults: dict[str, int]
    fault_points: dict[str, int]
    ended_by_themselves: list[str]
    examples: list[str]

    @property
    def is_right(self) -> bool:
        """True if nothing was lost, doubled or wrong."""
        return self.computed_twice == self.lost == self.wrong_state == 0


@contextmanager
def own_system(folder: Path, launcher: str) -> Iterator[tuple[System, Targets, Markers]]:
    """Everything in a home of its own, whose PostgreSQL the system knows by its URL, as it would a server's."""
    with ExitStack() as stack:
        broker_url = stack.enter_context(broker("redis", folder / "broker")) if launcher == "celery" else None
        yield stack.enter_context(_own_system(folder, broker_url))


@contextmanager
def _own_system(folder: Path, broker_url: str | None) -> Iterator[tuple[System, Targets, Markers]]:
    markers = Markers(folder / "markers")
    write_hook(folder / "hook")
    home = load_settings(home=folder / "home", database_url=None)
    source_tree = Path(embedded.__file__).parents[1]
    paths = [str(folder / "hook"), str(source_tree), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths), FOLDER_VARIABLE: str(markers.folder)}
    if broker_url is not None:
        variables["HEIMDALL_CELERY_BROKER_URL"] = broker_url
    workers = [] if broker_url is None else [f"worker-{number}" for number in range(1, WORKERS + 1)]
    with embedded.database(home):
        _without_fsync(home)
        root = folder / "iq"
        root.mkdir()
        url = heimdall_url(home).render_as_string(hide_password=False)
        settings = load_settings(home=folder / "home", database_url=url, iq_root=str(root))
        with running_system(settings, folder, **variables) as system:
            for name in workers:
                start_worker(system.processes, name)
            targets = Targets(system.processes, home, markers.folder, folder / "logs", workers)
            try:
                wait_for(lambda: _has_planned(system), "the daemon's first tick", timeout_s=180)
                yield system, targets, markers
            finally:
                targets.kill_everything()


def _without_fsync(settings: Settings) -> None:
    """A killed server loses nothing that it gave to the kernel; only the power of the machine would need the disk."""
    engine = open_engine(heimdall_url(settings), pool_size=1)
    with autocommit(engine) as connection:
        connection.execute(sa.text("ALTER SYSTEM SET fsync = off"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    engine.dispose()


def _has_planned(system: System) -> bool:
    with transaction(system.factory.engine) as connection:
        return heartbeats.last_beat(connection, heartbeats.PLANNER) is not None


def chaos(
    folder: Path,
    *,
    minutes: float,
    seed: int,
    patience_minutes: float = PATIENCE_MINUTES,
    launcher: str = LAUNCHERS[0],
) -> Report:
    """Break everything for some minutes, leave it alone until it rests, and look."""
    started = time.monotonic()
    with own_system(folder, launcher) as (system, targets, markers):
        logger.info("everything runs after %.0f s; seed %d, folder %s", time.monotonic() - started, seed, folder)
        arrivals = Arrivals(system.factory, seed, minutes * MINUTE_S)
        faults = Faults(system, arrivals, targets, markers)
        arrivals.start()
        try:
            faults.carry_out(make_plan(seed, minutes), minutes * MINUTE_S)
            arrivals.finish()
        finally:
            arrivals.stop()
        logger.info("left alone: %d sessions, %d kills", len(arrivals.known), faults.kills)
        drained_from = time.monotonic()
        remaining = drain(system, faults.backfills, patience_minutes * MINUTE_S, _progress(targets))
        drained_s = time.monotonic() - drained_from
        found = look(system, arrivals, remaining)
        counts = Counter(violation.kind for violation in found)
        return Report(
            sessions=len(arrivals.known),
            kills=faults.kills,
            restarts=targets.restarts,
            computed_twice=counts[checks.TWICE],
            lost=counts[checks.LOST],
            wrong_state=counts[checks.WRONG],
            seed=seed,
            minutes=minutes,
            launcher=launcher,
            seconds=round(time.monotonic() - started, 1),
            drained_in_seconds=None if remaining else round(drained_s, 1),
            faults=dict(sorted(faults.done.items())),
            fault_points=dict(Counter(markers.struck())),
            ended_by_themselves=targets.deaths,
            examples=[_shown(violation) for violation in _mixed(found)[:MOST_EXAMPLES]],
        )


def look(system: System, arrivals: Arrivals, remaining: Sequence[str]) -> list[Violation]:
    """Everything that is not as it must be, what has not come to rest included."""
    shown = system.api.partitions()
    with transaction(system.factory.engine) as connection:
        found = checks.violations(connection, arrivals.known, shown)
    return found + [checks.Violation(checks.WRONG, None, f"not at rest: {what}") for what in remaining]


def _progress(targets: Targets) -> Callable[[list[str]], None]:
    last = [""]

    def watch(remaining: list[str]) -> None:
        targets.note_deaths()
        text = "; ".join(remaining)
        if text != last[0]:
            logger.info("waiting for: %s", text)
            last[0] = text

    return watch


def _mixed(found: Sequence[Violation]) -> list[Violation]:
    """Violations of every kind first."""
    seen: Counter[str] = Counter()
    ranked = []
    for violation in found:
        seen[violation.kind] += 1
        ranked.append((seen[violation.kind], violation))
    return [violation for _, violation in sorted(ranked, key=lambda pair: pair[0])]


def _shown(violation: Violation) -> str:
    return f"{violation.kind}: {violation.session_id or 'all'}: {violation.what}"


def main() -> None:
    """Run and print; progress goes to standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m heimdall_assets_tests.chaos", description="Breaks a running system on purpose, and looks."
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="how long things are broken")
    parser.add_argument(
        "--patience-minutes",
        type=float,
        default=PATIENCE_MINUTES,
        help="how long afterwards nothing may happen before everything has come to rest",
    )
    parser.add_argument("--seed", type=int, help="decides what is broken when; one at random unless given")
    parser.add_argument(
        "--launcher", choices=LAUNCHERS, default=LAUNCHERS[0], help="who carries out runs: processes, Celery workers"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs here, for whoever looks for the cause")
    arguments = parser.parse_args()
    if not 0 < arguments.minutes <= 24 * 60:
        parser.error(f"--minutes {arguments.minutes:g} is not allowed: more than 0, at most {24 * 60}")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    # Also where SIGINT was inherited as ignored, which the processes would hand on; either ends it all.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = random.SystemRandom().randrange(10_000) if arguments.seed is None else arguments.seed
    with tempfile.TemporaryDirectory(prefix="heimdall-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        try:
            report = chaos(
                folder,
                minutes=arguments.minutes,
                seed=seed,
                patience_minutes=arguments.patience_minutes,
                launcher=arguments.launcher,
            )
        finally:
            if arguments.keep is not None:
                shutil.copytree(folder / "logs", arguments.keep, dirs_exist_ok=True)
    if arguments.json:
        sys.stdout.write(json.dumps(asdict(report), indent=2) + "\n")
    else:
        for key, value in asdict(report).items():
            sys.stdout.write(f"{key:22s} {value}\n")
    sys.exit(0 if report.is_right else 1)


if __name__ == "__main__":
    main()
