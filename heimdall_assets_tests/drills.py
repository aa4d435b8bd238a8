"""What operators fear, rehearsed with the real daemon: a store away for minutes, broken sessions, a new version.

    python -m heimdall_assets_tests.drills [outage] [broken] [stale] [--outage-s 120] [--json]

Each drill has a home of its own and the settings that an installation has. Exits 1 unless every one passes.

outage
    During a backfill of 300 sessions the IQ root goes away for two minutes. Nobody helps; all 300 are done.
broken
    200 sessions that nothing can repair are the newest, then 50 healthy ones come, which are older: they are planned
    by the first look at them, and so they are where the broken ones are as new to the planner as they.
stale
    500 sessions have features of the version before. Coverage says so; `heimdall backfill --stale --wait` computes
    them anew, and sessions that are completed meanwhile go first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.factory import TRUNCATED
from heimdall_assets_tests.invariants import assert_ledger_agrees
from heimdall_assets_tests.system import own_system

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from heimdall_assets_tests.system import System

PATIENCE_S = 900.0
DEFAULTS = {"HEIMDALL_RETRY_BASE_SECONDS": "60"}
"""Tests wait for retries by other means; here they come as they do for operators."""


def start(system: System, *arguments: str) -> subprocess.Popen[str]:
    """Start `heimdall ARGUMENTS --json` on the system."""
    command = [sys.executable, "-m", "heimdall_assets.cli", *arguments, "--json"]
    return subprocess.Popen(command, env=system.environment, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> Any:
    """Wait for a command; its document."""
    return json.loads(process.communicate(timeout=PATIENCE_S)[0])


def outage(system: System, outage_s: float) -> dict[str, Any]:
    """The IQ root goes away once a sixth of 300 sessions is done."""
    keys = system.factory.add_many(300)
    asked = start(system, "backfill", "--all", "--wait")
    wait_for(lambda: len(system.stored()) >= len(keys) // 6, "the backfill to get going", timeout_s=PATIENCE_S)
    root = system.factory.root
    aside = root.with_name("away")
    root.rename(aside)
    time.sleep(outage_s)
    done_before = len(system.stored())
    aside.rename(root)
    back = time.monotonic()
    counts = end(asked)
    system.drain(timeout_s=PATIENCE_S)
    wait_for(lambda: len(system.stored()) == len(keys), "every session to be done", timeout_s=PATIENCE_S)
    seconds = time.monotonic() - back
    tried = _attempts(system)
    patient = max(keys, key=lambda key: tried[key])
    shown = end(start(system, "show", str(patient)))
    outcomes = [(attempt["outcome"], attempt["reason"]) for attempt in shown["attempts"]]
    figures = system.figures()
    return {
        "sessions": len(keys),
        "done_before_the_store_came_back": done_before,
        "done": figures["recordings_with_features"],
        "seconds_from_the_stores_return": round(seconds, 1),
        "sessions_tried_again": sum(number > 1 for number in tried.values()),
        "most_attempts": tried[patient],
        "partial_meanwhile": sum(system.stored().values()) - len(keys),
        "attempts_in_show": outcomes,
        "backfill": {name: counts[name] for name in ("status", "total_found", "done", "failed")},
        "passed": figures["recordings_with_features"] == len(keys)
        and _times_done(system) == dict.fromkeys(keys, 1)
        and done_before < len(keys)
        and len(outcomes) == tried[patient] > 1
        and set(outcomes[:-1]) == {("failed", "store_unavailable")}
        and outcomes[-1][0] == "done",
    }


def _times_done(system: System) -> dict[UUID, int]:
    """How often each session was done; one that lost some of its recordings to the outage was partial before."""
    rows = system.factory.rows(
        "SELECT recording_session_id, count(*) FROM heimdall.feature_attempts WHERE outcome = 'done' GROUP BY 1"
    )
    return {key: count for key, count in rows}  # noqa: C416  # two columns


def broken(system: System, _: float) -> dict[str, Any]:
    """Healthy sessions behind broken ones, which are known at first, and new with the healthy ones then."""
    rows: dict[str, Any] = {}
    for name, minutes in (("known", 10_000), ("new", 20_000)):
        system.api.stop_sensor()
        bad = system.factory.add_many(200, (TRUNCATED,) * 3, minutes=minutes)
        if name == "known":
            system.api.start_sensor()
            wait_for(lambda bad=bad: _states(system, bad) == {"quarantined"}, "the broken", timeout_s=PATIENCE_S)  # type: ignore[misc]
            system.api.stop_sensor()
        healthy = system.factory.add_many(50, minutes=minutes - 1000)
        system.api.start_sensor()
        wait_for(lambda healthy=healthy: _states(system, healthy) == {"done"}, "the healthy", timeout_s=PATIENCE_S)  # type: ignore[misc]
        keys = [*healthy, *(bad if name == "new" else ())]
        rows[name] = {"planned_in_ticks": len(_ticks(system, keys)), "sessions": len(keys)}
        system.drain(timeout_s=PATIENCE_S)
    return {**rows, "passed": all(row["planned_in_ticks"] == 1 for row in rows.values())}


def stale(system: System, _: float) -> dict[str, Any]:
    """Features of the version before are computed anew on request, behind fresh sessions."""
    keys = system.factory.add_many(500)
    system.drain(timeout_s=PATIENCE_S)
    wait_for(lambda: len(system.stored()) == len(keys), "the first features", timeout_s=PATIENCE_S)
    before = FEATURE_VERSION - 1
    system.factory.rows(
        "UPDATE heimdall.measurement_features SET extraction_metadata = "
        "jsonb_set(extraction_metadata, '{feature_version}', to_jsonb(CAST(:version AS int))) RETURNING 1",
        version=before,
    )
    system.factory.rows("UPDATE heimdall.feature_states SET feature_version = :version RETURNING 1", version=before)
    marked = system.figures()["recordings_stale"]
    asked = start(system, "backfill", "--stale", "--wait")
    wait_for(lambda: len(_again(system)) > 0, "the recomputation to begin", timeout_s=PATIENCE_S, poll_s=0.1)
    fresh = system.factory.add_many(20, minutes=5000)
    wait_for(lambda: _states(system, fresh) == {"done"}, "the fresh sessions", timeout_s=PATIENCE_S, poll_s=0.2)
    stale_when_fresh_were_done = system.figures()["recordings_stale"]
    counts = end(asked)
    system.drain(timeout_s=PATIENCE_S)
    stored = system.stored()
    left = system.figures()["recordings_stale"]
    return {
        "stale": marked,
        "stale_when_20_fresh_were_done": stale_when_fresh_were_done,
        "stale_in_the_end": left,
        "backfill": {name: counts[name] for name in ("status", "total_found", "done", "failed")},
        "passed": marked == len(keys)
        and int(stale_when_fresh_were_done or 0) > 0
        and left == 0
        and {stored[key] for key in keys} == {2}
        and {stored[key] for key in fresh} == {1},
    }


def _states(system: System, keys: Sequence[UUID]) -> set[str | None]:
    """States of sessions; None among them while one is not known yet."""
    rows = system.factory.rows(
        "SELECT state FROM heimdall.feature_states WHERE recording_session_id = ANY (:keys)", keys=list(keys)
    )
    return {row[0] for row in rows} | ({None} if len(rows) < len(keys) else set())


def _ticks(system: System, keys: Sequence[UUID]) -> set[str]:
    """Ticks of the sensor that launched the runs in which the sessions were first tried."""
    rows = system.factory.rows(
        "SELECT DISTINCT run_id FROM heimdall.feature_attempts WHERE recording_session_id = ANY (:keys) AND number = 1",
        keys=list(keys),
    )
    tried_in = {row[0] for row in rows}
    return {
        tag["value"]
        for run in system.api.runs()
        if run["runId"] in tried_in
        for tag in run["tags"]
        if tag["key"] == "dagster/tick"
    }


def _attempts(system: System) -> dict[UUID, int]:
    rows = system.factory.rows("SELECT recording_session_id, count(*) FROM heimdall.feature_attempts GROUP BY 1")
    return {key: count for key, count in rows}  # noqa: C416  # two columns


def _again(system: System) -> set[UUID]:
    """Sessions whose features were stored twice."""
    return {key for key, count in system.stored().items() if count > 1}


DRILLS: dict[str, Callable[[System, float], dict[str, Any]]] = {"outage": outage, "broken": broken, "stale": stale}


def main() -> None:
    """Carry out the drills and print what came of them; exits 1 if one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("drills", nargs="*", choices=[*DRILLS, []], help="all, unless some are named")
    parser.add_argument("--outage-s", type=float, default=120.0, help="how long the store is away, s (%(default)g)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for name in arguments.drills or DRILLS:
        with own_system(**DEFAULTS) as system:
            found[name] = DRILLS[name](system, arguments.outage_s)
            assert_ledger_agrees(system.factory.engine)
        if not arguments.json:
            sys.stdout.write(f"{name}: {'passed' if found[name]['passed'] else 'FAILED'}\n")
            for key, value in found[name].items():
                sys.stdout.write(f"    {key.replace('_', ' ')}: {value}\n")
            sys.stdout.flush()
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    sys.exit(0 if all(row["passed"] for row in found.values()) else 1)


if __name__ == "__main__":
    main()
