"""`heimdall backfill` and `ignore`: what is asked for, and what never is."""

from __future__ import annotations

import contextlib
import getpass
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from heimdall_assets.cli.console import EXIT_FAILED, DebugOption, JsonOption, err, moment, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.db import coverage, heartbeats, requests, states
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.requests import Selection
from heimdall_assets.errors import SettingError, UnknownSession
from heimdall_assets.processes import Processes, dagster_processes, start_daemon, stop_signals
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

DAEMON_SILENCE_S = 60.0
POLL_S = 1.0


def backfill(
    everything: Annotated[bool, typer.Option("--all", help="Everything that is pending.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the newest.")] = None,
    session: Annotated[list[str] | None, typer.Option(help="Only this session; may be repeated.")] = None,
    stale: Annotated[bool, typer.Option("--stale", help="Features that are out of date: see `heimdall show`.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Failed and quarantined sessions.")] = False,
    reason: Annotated[str | None, typer.Option(help="Of the failed ones, those with this reason.")] = None,
    since: Annotated[str | None, typer.Option(help="Only sessions that started then or later; ISO 8601.")] = None,
    until: Annotated[str | None, typer.Option(help="Only sessions that started before.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many sessions that is.")] = False,
    run: Annotated[bool, typer.Option("--run", help="Carry it out here where no daemon is running.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Ask for sessions to be computed; the sensor of the running system carries it out.

    Example: heimdall backfill --retry-failed --reason not_found --wait
    """
    with reporting(as_json=as_json, debug=debug), stop_signals() as stopped:
        settings = load_settings()
        selection = Selection(
            pending=everything or (limit is not None and not (stale or retry_failed or reason)),
            stale=stale,
            failed=retry_failed and reason is None,
            reason=reason,
            session_ids=tuple(str(_session_id(text)) for text in session or ()),
            since=_moment("--since", since),
            until=_moment("--until", until),
            limit=limit,
        )
        if not (selection.pending or stale or retry_failed or reason or selection.session_ids):
            raise SettingError("say which sessions: --all, --limit N, --session ID, --stale or --retry-failed")
        with connected(settings) as engine:
            if dry_run:
                with transaction(engine) as connection:
                    planned = requests.count(connection, selection, feature_version=FEATURE_VERSION)
                if as_json:
                    print_json({"planned": planned})
                else:
                    out.print(f"{planned} sessions", markup=False)
                return
            with transaction(engine) as connection:
                request_id = requests.submit(connection, selection, requested_by=f"cli {getpass.getuser()}")
                is_alive = is_daemon_alive(connection)
            if not is_alive and not run:
                err.print("no daemon is alive: the request waits until `heimdall up` or a dagster-daemon runs")
            with _daemon_if(settings, needed=run and not is_alive) as processes:
                progress = _follow(engine, request_id, processes, stopped) if run or wait else _look(engine, request_id)
        _print_progress(progress, as_json=as_json)
        if progress.failed:
            raise typer.Exit(EXIT_FAILED)


def ignore(
    sessions: Annotated[list[str], typer.Argument(help="UUIDs of recording sessions.")],
    undo: Annotated[bool, typer.Option("--undo", help="Bring them back.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take sessions out of the work list for good.

    Example: heimdall ignore 6f0f5d2e-7f0b-5c55-9a5e-1d0f6f7a2c11
    """
    with reporting(as_json=as_json, debug=debug):
        keys = [_session_id(text) for text in sessions]
        with connected(load_settings()) as engine, transaction(engine) as connection:
            changed = states.ignore(connection, keys, undo=undo)
            missing = [key for key in keys if states.state_of(connection, key) is None]
        if missing:
            raise UnknownSession(f"there is no completed recording session {missing[0]}")
        if as_json:
            print_json({"changed": changed})
        else:
            out.print(f"{len(changed)} of {len(keys)} sessions {'brought back' if undo else 'ignored'}", markup=False)


def _session_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UnknownSession(f"{text!r} is not a session's UUID") from None


def _moment(option: str, text: str | None) -> str | None:
    return None if text is None else moment(option, text).isoformat()


def is_daemon_alive(connection: Any) -> bool:
    """True if a planner was at work a moment ago: then what is asked for will be carried out."""
    silence_s = heartbeats.seconds_since(connection, heartbeats.PLANNER)
    return silence_s is not None and silence_s < DAEMON_SILENCE_S


@contextlib.contextmanager
def _daemon_if(settings: Settings, *, needed: bool) -> Iterator[Processes | None]:
    if not needed:
        yield None
        return
    with dagster_processes(settings) as processes:
        start_daemon(processes)
        yield processes


def _look(engine: Engine, request_id: UUID) -> requests.Progress:
    with transaction(engine) as connection:
        return requests.progress(connection, request_id)


def _follow(
    engine: Engine, request_id: UUID, processes: Processes | None, stopped: threading.Event
) -> requests.Progress:
    """Watch a request until it ends; a stop signal ends the watching, not the request."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=err,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("backfill", total=None)
        progress = _look(engine, request_id)
        while not progress.has_ended and not stopped.wait(POLL_S):
            if processes is not None:
                processes.check()
            progress = _look(engine, request_id)
            bar.update(task, total=progress.total_found or None, completed=progress.done + progress.failed)
    if processes is not None and progress.has_ended:
        _await_reports(engine, stopped)
    return progress


def _await_reports(engine: Engine, stopped: threading.Event) -> None:
    """Let the last runs end before their daemon is stopped: they mark their failed partitions at the end."""
    deadline = time.monotonic() + DAEMON_SILENCE_S
    while time.monotonic() < deadline and not stopped.wait(POLL_S):
        with transaction(engine) as connection:
            if coverage.is_report_current(connection):
                return


def _print_progress(progress: requests.Progress, *, as_json: bool) -> None:
    document = {
        "request_id": progress.request_id,
        "status": progress.status,
        "total_found": progress.total_found,
        "tasks_queued": progress.tasks_queued,
        "done": progress.done,
        "failed": progress.failed,
        "remaining": progress.remaining,
        "num_batches": progress.num_batches,
        "eta_seconds": progress.eta_seconds,
    }
    if as_json:
        print_json(document)
        return
    out.print(f"request {progress.request_id}: {progress.status}", markup=False)
    if progress.total_found:
        out.print(
            f"{progress.total_found} found, {progress.done} done, {progress.failed} failed, "
            f"{progress.remaining} remaining, {progress.num_batches} batches",
            markup=False,
        )
