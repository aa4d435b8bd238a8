"""`heimdall reconcile`: Dagster is to show what PostgreSQL holds."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from heimdall_assets.cli.backfill import is_daemon_alive
from heimdall_assets.cli.console import EXIT_FAILED, DebugOption, JsonOption, err, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.db import partitions, reconciliations, requests
from heimdall_assets.db.engine import transaction
from heimdall_assets.processes import stop_signals
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    import threading
    from uuid import UUID

    from sqlalchemy.engine import Engine

POLL_S = 1.0
MEANINGS = {
    "unreported": "sessions with features that Dagster was not told of",
    "vanished": "partitions without a completed session",
    "beyond_window": "sessions to be retired from Dagster",
}


def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what differs, as far as PostgreSQL knows.")] = (
        False
    ),
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Have Dagster's partitions compared with PostgreSQL and set right; the running system carries it out.

    It does so by itself once a day, and a little whenever it is idle.

    Example: heimdall reconcile --dry-run
    """
    with reporting(as_json=as_json, debug=debug), stop_signals() as stopped:
        settings = load_settings()
        with connected(settings) as engine:
            with transaction(engine) as connection:
                found = partitions.differences(connection, window=settings.partition_window)
            if dry_run:
                _print_differences(found, as_json=as_json)
                return
            with transaction(engine) as connection:
                request_id = reconciliations.submit(connection, requested_by=f"cli {getpass.getuser()}")
                is_alive = is_daemon_alive(connection)
            if not is_alive:
                err.print("no daemon is alive: the request waits until `heimdall up` or a dagster-daemon runs")
            status = _follow(engine, request_id, stopped, wait=wait)
        if as_json:
            print_json({"request_id": request_id, "status": status, **found})
        else:
            out.print(f"request {request_id}: {status}", markup=False)
        if status == "cancelled":
            raise typer.Exit(EXIT_FAILED)


def _follow(engine: Engine, request_id: UUID, stopped: threading.Event, *, wait: bool) -> str:
    """The request's status, at its end if that is waited for; a stop signal ends the waiting, not the request."""
    while True:
        with transaction(engine) as connection:
            progress = requests.progress(connection, request_id)
        if not wait or progress.has_ended or stopped.wait(POLL_S):
            return progress.status


def _print_differences(found: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for name, count in found.items():
        out.print(f"{count:>8,} {MEANINGS[name]}", markup=False)
