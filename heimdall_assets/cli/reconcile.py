"""`heimdall reconcile`: does the ledger say what the tables say, does Dagster show it, and setting both right."""

from __future__ import annotations

import getpass
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from heimdall_assets.cli.console import EXIT_FAILED, DebugOption, JsonOption, out, print_json, reporting, warn
from heimdall_assets.cli.database import connected
from heimdall_assets.db import partitions, reconciliation, reconciliations
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.heartbeats import is_daemon_alive
from heimdall_assets.db.locks import planner_lock
from heimdall_assets.db.progress import progress
from heimdall_assets.errors import SessionBusy, SettingError
from heimdall_assets.extraction import retry_rule
from heimdall_assets.processes import stop_signals
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    import threading
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

PLANNER_TIMEOUT_S = 60.0
PLANNER_POLL_S = 0.2
POLL_S = 1.0
MEANINGS = {
    "unreported": "sessions with features that Dagster was not told of",
    "vanished": "partitions without a completed session",
    "beyond_window": "sessions to be retired from Dagster",
}


def reconcile(
    check: Annotated[
        bool, typer.Option("--check", help="Only list states that disagree with the tables, and change nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what Dagster does not show, as far as PostgreSQL knows.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow Dagster's part to its end.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Work every state out anew from the tables, and have Dagster's partitions set right by the running system.

    Dagster's part happens by itself once a day, and a little whenever the sensor is idle.

    Example: heimdall reconcile --check
    """
    with reporting(as_json=as_json, debug=debug), stop_signals() as stopped:
        if check and (dry_run or wait):
            raise SettingError("--check excludes --dry-run and --wait")
        settings = load_settings()
        with connected(settings) as engine:
            if check:
                _check(engine, as_json=as_json)
                return
            repair = None if dry_run else _repair(engine, settings)
            with transaction(engine) as connection:
                found = partitions.differences(connection, window=settings.partition_window)
            if repair is None:
                _print_differences(found, as_json=as_json)
                return
            with transaction(engine) as connection:
                request_id = reconciliations.submit(connection, requested_by=f"cli {getpass.getuser()}")
                is_alive = is_daemon_alive(connection)
            if not is_alive:
                warn("no daemon is alive: the request waits until `heimdall up` or a dagster-daemon runs")
            status = _follow(engine, request_id, stopped, wait=wait)
        if as_json:
            print_json({"request_id": request_id, "status": status, **asdict(repair), **found})
        else:
            out.print(", ".join(f"{name} {value}" for name, value in asdict(repair).items()), markup=False)
            out.print(f"request {request_id}: {status}", markup=False)
        if status == "cancelled":
            raise typer.Exit(EXIT_FAILED)


def _check(engine: Engine, *, as_json: bool) -> None:
    with transaction(engine) as connection:
        found, gone = reconciliation.check(connection)
    for item in gone:
        receiver = "no receiver" if item.station_id is None else f"receiver {item.station_id}, which is not there"
        warn(f"{item.sessions} sessions have measurements of {receiver}: what was computed of them stays")
    if as_json:
        print_json([asdict(item) for item in found])
    else:
        _print_disagreements(found)
    if found:
        raise typer.Exit(EXIT_FAILED)


def _repair(engine: Engine, settings: Settings) -> reconciliation.Repair:
    """Repair under the planner's lock, which a tick holds for a second at the most."""
    deadline = time.monotonic() + PLANNER_TIMEOUT_S
    while True:
        with planner_lock(engine) as connection:
            if connection is not None:
                return reconciliation.repair(connection, retry_rule(settings))
        if time.monotonic() > deadline:
            raise SessionBusy(f"another planner has been at work for more than {PLANNER_TIMEOUT_S:g} s")
        time.sleep(PLANNER_POLL_S)


def _print_disagreements(found: list[reconciliation.Disagreement]) -> None:
    if not found:
        out.print("The ledger agrees with the tables.")
        return
    table = Table(box=None)
    for heading in ("session", "stored", "should be", "why"):
        table.add_column(heading)
    for item in found:
        table.add_row(str(item.session_id or "-"), item.stored or "-", item.should_be or "-", item.why)
    out.print(table)


def _follow(engine: Engine, request_id: UUID, stopped: threading.Event, *, wait: bool) -> str:
    """The request's status, at its end if that is waited for; a stop signal ends the waiting, not the request."""
    while True:
        with transaction(engine) as connection:
            so_far = progress(connection, request_id)
        if not wait or so_far.has_ended or stopped.wait(POLL_S):
            return so_far.status


def _print_differences(found: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for name, count in found.items():
        out.print(f"{count:>8,} {MEANINGS[name]}", markup=False)
