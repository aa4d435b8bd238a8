"""`heimdall reconcile`: does the ledger say what the tables say, and setting it right."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from heimdall_assets.cli.console import EXIT_FAILED, DebugOption, JsonOption, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.db import reconciliation
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import planner_lock
from heimdall_assets.errors import SessionBusy
from heimdall_assets.extraction import retry_rule
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

PLANNER_TIMEOUT_S = 60.0
POLL_S = 0.2


def reconcile(
    check: Annotated[bool, typer.Option("--check", help="Only list what disagrees, and change nothing.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Work out every session's state from the tables, and set those right that disagree.

    Example: heimdall reconcile --check
    """
    with reporting(as_json=as_json, debug=debug):
        settings = load_settings()
        with connected(settings) as engine:
            if not check:
                document = asdict(_repair(engine, settings))
                if as_json:
                    print_json(document)
                else:
                    out.print(", ".join(f"{name} {value}" for name, value in document.items()), markup=False)
                return
            with transaction(engine) as connection:
                found = reconciliation.disagreements(connection)
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
        time.sleep(POLL_S)


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
