"""Backfills as Dagster's UI launches them: every kind of selection ends, and exactly the broken sessions are red.

Brings up a PostgreSQL, a webserver and a daemon of its own in a temporary home. The last row is the way of the same
scattered keys through `heimdall backfill --session`: one run instead of one a gap.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.factory import GOOD, TRUNCATED
from heimdall_assets_tests.system import own_system

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from heimdall_assets_tests.system import System

ENDED = {True: ("COMPLETED_FAILED",), False: ("COMPLETED", "COMPLETED_SUCCESS")}
"""How a backfill ends: with red keys, and without."""

TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Row:
    """What a selection took.

    Attributes
    ----------
    seconds : float
        From the launch to the end of the backfill.
    is_right : bool
        It ended as it should, and of its keys exactly the broken ones are red and all others green.
    """

    selection: str
    keys: int
    runs: int
    seconds: float
    sessions_per_minute: float
    status: str
    is_right: bool


def add_sessions(system: System, count: int, broken: Sequence[int] = (), location: str = TRUNCATED) -> list[UUID]:
    """Sessions whose partitions nobody has worked on, side by side in Dagster's order.

    They are quarantined, so that neither sensor nor schedule takes them before the backfill does.
    """
    keys = system.factory.add_many(count, (GOOD,) * 3)
    for index in broken:
        system.factory.replace_file(keys[index], location)
    system.register(keys)
    system.set_states(keys, "quarantined", "not_found")
    return keys


@dataclass(frozen=True)
class Launched:
    """A backfill that was launched."""

    selection: str
    keys: tuple[UUID, ...]
    broken: frozenset[UUID]
    backfill_id: str
    started: float


def launch(system: System, selection: str, keys: Sequence[UUID], broken: Sequence[UUID] = ()) -> Launched:
    """Launch the keys as one backfill, as the UI does."""
    started = time.monotonic()
    identity = system.api.launch_backfill([str(key) for key in keys])
    return Launched(selection, tuple(keys), frozenset(broken), identity, started)


def follow(system: System, launched: Launched, timeout_s: float = TIMEOUT_S) -> Row:
    """Wait for a backfill to end and look at its keys."""
    status = system.api.await_backfill(launched.backfill_id, timeout_s=timeout_s)
    seconds = time.monotonic() - launched.started
    runs = system.api.runs(tags=[{"key": "dagster/backfill", "value": launched.backfill_id}])
    is_right = status in ENDED[bool(launched.broken)] and colours_are_right(system, launched.keys, launched.broken)
    return _row(launched.selection, launched.keys, len(runs), seconds, status, is_right=is_right)


def colours_are_right(system: System, keys: Sequence[UUID], broken: frozenset[UUID]) -> bool:
    """True if of these keys exactly the broken ones are red, all others green, and the tables say the same."""
    colours = system.api.partitions()
    mine = {str(key) for key in keys}
    red = {str(key) for key in broken}
    featured = system.factory.rows(
        "SELECT recording_session_id FROM heimdall.measurement_features "
        "WHERE NOT extraction_failed AND recording_session_id = ANY (:keys)",
        keys=list(keys),
    )
    return (
        colours["failed"] & mine == red
        and colours["materialized"] & mine == mine - red
        and not colours["materializing"] & mine
        and {str(row[0]) for row in featured} == mine - red
    )


def missing_and_failed(system: System) -> Row:
    """Of 90 sessions 60 were run and 20 of these failed; 15 could succeed now: the UI sends 20 red and 30 missing."""
    late = "late.npy"
    broken = list(range(1, 60, 3))
    keys = add_sessions(system, 90, broken, late)
    red = [keys[index] for index in broken]
    follow(system, launch(system, "", keys[:60], red))
    shutil.copyfile(system.factory.root / GOOD, system.factory.root / late)
    for key in red[15:]:
        system.factory.replace_file(key, TRUNCATED)
    return follow(system, launch(system, "missing and failed", [*red, *keys[60:]], red[15:]))


def through_the_command(system: System, keys: Sequence[UUID]) -> Row:
    """The keys through `heimdall backfill --session ... --wait`."""
    started = time.monotonic()
    options = [option for key in keys for option in ("--session", str(key))]
    done = subprocess.run(
        [sys.executable, "-m", "heimdall_assets.cli", "backfill", *options, "--wait", "--json"],
        env=system.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    document = json.loads(done.stdout)
    wait_for(lambda: not system.api.open_runs(), "the runs to end")
    runs = system.api.runs(tags=[{"key": "heimdall/origin", "value": document["request_id"]}])
    is_right = done.returncode == 0 and document["done"] == len(keys) and colours_are_right(system, keys, frozenset())
    name = f"{len(keys)} scattered, heimdall backfill"
    return _row(name, keys, len(runs), seconds, document["status"], is_right=is_right)


def _row(selection: str, keys: Sequence[UUID], runs: int, seconds: float, status: str, *, is_right: bool) -> Row:
    return Row(selection, len(keys), runs, round(seconds, 1), round(60 * len(keys) / seconds, 1), status, is_right)


def measure(system: System) -> Iterator[Row]:
    """Every kind of selection, one after the other."""
    first = add_sessions(system, 1)
    yield follow(system, launch(system, "1 key", first))
    block = add_sessions(system, 200)
    yield follow(system, launch(system, "200 contiguous", block))
    spread = add_sessions(system, 120)
    yield follow(system, launch(system, "40 scattered", spread[::3]))
    yield through_the_command(system, spread[1::3])
    yield missing_and_failed(system)
    broken = range(10, 1000, 50)
    everything = add_sessions(system, 1000, broken)
    yield follow(system, launch(system, "1000, 20 of them broken", everything, [everything[index] for index in broken]))


def main() -> None:
    """Measure and print; exits 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="Backfills of every kind of selection, as the UI launches them.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    rows: list[Row] = []
    with own_system() as system:
        for row in measure(system):
            rows.append(row)
            if not arguments.json:
                right = "right" if row.is_right else "WRONG"
                sys.stdout.write(
                    f"{row.selection:32s} {row.keys:5d} keys {row.runs:4d} runs {row.seconds:7.1f} s "
                    f"{row.sessions_per_minute:7.1f} a minute  {row.status}, greens and reds {right}\n"
                )
                sys.stdout.flush()
    if arguments.json:
        by_name = {row.selection: row for row in rows}
        in_ui, by_command = by_name["40 scattered"], by_name["40 scattered, heimdall backfill"]
        document: dict[str, Any] = {
            "rows": [asdict(row) for row in rows],
            "scattered_ratio": round(in_ui.seconds / by_command.seconds, 1),
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.exit(0 if all(row.is_right for row in rows) else 1)


if __name__ == "__main__":
    main()
