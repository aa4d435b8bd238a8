"""`heimdall stats` and `failures`: what is covered, what is not, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from heimdall_assets.cli.console import DebugOption, JsonOption, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.db import coverage, pauses
from heimdall_assets.db.engine import transaction
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping


def stats(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Show how many sessions and measurements have features.

    Example: heimdall stats --json
    """
    with reporting(as_json=as_json, debug=debug), connected(load_settings()) as engine:
        with transaction(engine) as connection:
            figures = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
            held = pauses.current_pause(connection)
        if as_json:
            print_json(figures)
            return
        out.print(stats_table(figures))
        if held is not None:
            out.print(f"{held.in_words}; `heimdall resume` ends it", markup=False, style="yellow")


def stats_table(figures: Mapping[str, int | float | None]) -> Table:
    """The figures of ``stats`` for people."""
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(justify="left")
    table.add_column(justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), "-" if value is None else f"{value:,}")
    return table


def failures(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Show failed sessions grouped by reason.

    Example: heimdall failures
    """
    with reporting(as_json=as_json, debug=debug), connected(load_settings()) as engine:
        with transaction(engine) as connection:
            groups = coverage.failure_groups(connection)
        if as_json:
            print_json(
                [
                    {
                        "reason": group.reason,
                        "sessions": group.sessions,
                        "quarantined": group.quarantined,
                        "first_seen": group.first_seen,
                        "last_seen": group.last_seen,
                        "example": {
                            "session_id": group.example_session_id,
                            "message": group.example_message,
                            "run_id": group.example_run_id,
                        },
                    }
                    for group in groups
                ]
            )
            return
        if not groups:
            out.print("No session is failed.")
            return
        table = Table(box=None)
        for heading in ("reason", "sessions", "given up", "last seen", "for example"):
            table.add_column(heading)
        for group in groups:
            seen = f"{group.last_seen:%Y-%m-%d %H:%M:%S}" if group.last_seen else "-"
            example = f"{group.example_session_id}: {group.example_message}"
            table.add_row(group.reason, str(group.sessions), str(group.quarantined), seen, example)
        out.print(table)
