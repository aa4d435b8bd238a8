"""`heimdall requests`: what people and scripts asked for, how far it is, and stopping it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from heimdall_assets.cli.console import DebugOption, JsonOption, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.db import progress, requests
from heimdall_assets.db.engine import transaction
from heimdall_assets.errors import SettingError
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heimdall_assets.db.progress import Progress

MOST_LISTED = 50
COUNTS = ("total_found", "tasks_queued", "done", "failed", "cancelled", "remaining", "num_batches")

RequestArgument = Annotated[str, typer.Argument(metavar="REQUEST_ID", help="UUID of a request.")]

app = typer.Typer()


@app.callback(invoke_without_command=True)
def list_by_default(context: typer.Context, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List requests that are open or were made last; or show or cancel one.

    Example: heimdall requests
    """
    if context.invoked_subcommand is None:
        list_requests(as_json=as_json, debug=debug)


@app.command("list")
def list_requests(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the requests that have not ended, then those that were made last.

    Example: heimdall requests list --json
    """
    with reporting(as_json=as_json, debug=debug):
        with connected(load_settings()) as engine, transaction(engine) as connection:
            found = progress.recent(connection, MOST_LISTED)
        if as_json:
            print_json([request_document(request) for request in found])
        elif found:
            out.print(_table(found))
        else:
            out.print("Nobody has asked for anything yet.")


@app.command("show")
def show_request(request_id: RequestArgument, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Show how far a request is.

    Example: heimdall requests show 6f0f5d2e-7f0b-5c55-9a5e-1d0f6f7a2c11
    """
    with reporting(as_json=as_json, debug=debug):
        key = _request_id(request_id)
        with connected(load_settings()) as engine, transaction(engine) as connection:
            found = progress.progress(connection, key)
        print_request(found, as_json=as_json)


@app.command("cancel")
def cancel_request(request_id: RequestArgument, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Stop a request: nothing more is planned for it, what waits in the queue is cancelled, what runs ends.

    Sessions that are pending are computed all the same: sensor and schedule do not wait to be asked.

    Example: heimdall requests cancel 6f0f5d2e-7f0b-5c55-9a5e-1d0f6f7a2c11
    """
    with reporting(as_json=as_json, debug=debug):
        key = _request_id(request_id)
        with connected(load_settings()) as engine, transaction(engine) as connection:
            found = requests.cancel(connection, key)
        print_request(found, as_json=as_json)


def request_document(found: Progress) -> dict[str, Any]:
    """A request as JSON: its progress, then who asked for what and when."""
    values = asdict(found)
    names = ("request_id", "status", *COUNTS, "eta_seconds", "requested_by", "created_at", "finished_at")
    return {**{name: values[name] for name in names}, "selection": _asked_for(found.selection)}


def print_request(found: Progress, *, as_json: bool) -> None:
    """One request, for people or as JSON."""
    if as_json:
        print_json(request_document(found))
        return
    out.print(f"request {found.request_id}: {found.status}", markup=False)
    out.print(f"asked   {found.created_at:%Y-%m-%d %H:%M:%S %Z} by {found.requested_by}", markup=False)
    out.print(f"for     {selection_text(found.selection)}", markup=False)
    if found.status == "queued":
        out.print("        the planner has not taken it in yet", markup=False)
        return
    parts = [f"{found.total_found} found", f"{found.done} done", f"{found.failed} failed"]
    if found.status.startswith("cancel"):
        parts.append(f"{found.cancelled} cancelled")
    parts += [f"{found.remaining} remaining", f"{found.num_batches} batches"]
    if found.eta_seconds:
        parts.append(f"about {found.eta_seconds:.0f} s to go")
    out.print("so far  " + ", ".join(parts), markup=False)


def selection_text(selection: Mapping[str, Any]) -> str:
    """What a request asks for, in a line: ``pending, stale, limit 5``."""
    kinds, values = [], []
    for name, value in _asked_for(selection).items():
        if value is True:
            kinds.append(name)
        elif name == "session_ids":
            values.append(f"{len(value)} sessions by id")
        else:
            values.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join([*kinds, *values])


def _asked_for(selection: Mapping[str, Any]) -> dict[str, Any]:
    """A selection without what it leaves open."""
    return {name: value for name, value in selection.items() if value}


def _table(found: list[Progress]) -> Table:
    table = Table(box=None)
    for heading in ("request", "status", "found", "done", "failed", "cancelled", "remaining", "batches", "eta"):
        table.add_column(heading, justify="left" if heading in {"request", "status"} else "right")
    for heading in ("asked", "by", "for"):
        table.add_column(heading)
    for request in found:
        counts = (getattr(request, name) for name in COUNTS if name != "tasks_queued")
        table.add_row(
            str(request.request_id),
            request.status,
            *map(str, counts),
            f"{request.eta_seconds:.0f} s" if request.eta_seconds else "-",
            f"{request.created_at:%Y-%m-%d %H:%M:%S}",
            request.requested_by,
            selection_text(request.selection),
        )
    return table


def _request_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise SettingError(f"{text!r} is not a request's UUID") from None
