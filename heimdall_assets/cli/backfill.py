"""`heimdall backfill` and `ignore`: what is asked for, and what never is."""

from __future__ import annotations

import getpass
import sys
import time
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from heimdall_assets.cli.console import (
    EXIT_FAILED,
    EXIT_STOPPED,
    DebugOption,
    JsonOption,
    err,
    moment,
    out,
    print_json,
    reporting,
    session_id_of,
    warn,
)
from heimdall_assets.cli.database import connected
from heimdall_assets.cli.requests import print_request
from heimdall_assets.db import coverage, pauses, progress, requests, sessions, states
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.heartbeats import PLANNER, is_daemon_alive, process_of
from heimdall_assets.db.requests import Selection
from heimdall_assets.errors import SettingError, UnknownSession
from heimdall_assets.processes import Processes, stop_signals
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.services import dagster_processes, start_daemon
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from sqlalchemy.engine import Connection, Engine

REPORTS_TIMEOUT_S = 60.0
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

    While planning is held (`heimdall pause`) the request is recorded and waits; `--run` is refused then.

    Example: heimdall backfill --retry-failed --reason not_found --wait
    """
    with reporting(as_json=as_json, debug=debug), stop_signals() as stopped:
        _refuse_contradictions(
            {"--all": everything, "--limit": limit is not None, "--session": bool(session)},
            {"--dry-run": dry_run, "--run": run, "--wait": wait},
        )
        selection = Selection(
            pending=everything or (limit is not None and not (stale or retry_failed or reason)),
            stale=stale,
            failed=retry_failed and reason is None,
            reason=reason,
            session_ids=tuple(str(_asked_session(text)) for text in session or ()),
            since=_moment("--since", since),
            until=_moment("--until", until),
            limit=limit,
        )
        if not (selection.pending or stale or retry_failed or reason or selection.session_ids):
            raise SettingError("say which sessions: --all, --limit N, --session ID, --stale or --retry-failed")
        if selection.since and selection.until and _time(selection.since) >= _time(selection.until):
            raise SettingError(f"--since {since} is not before --until {until}: no session can be meant")
        settings = load_settings()
        with connected(settings) as engine:
            with transaction(engine) as connection:
                _require_sessions(connection, selection.session_ids)
                if dry_run:
                    planned = requests.count(connection, selection, feature_version=FEATURE_VERSION)
                    if as_json:
                        print_json({"planned": planned})
                    else:
                        out.print(f"{planned} sessions", markup=False)
                    return
                if run:
                    pauses.require_running(connection)
                request_id = requests.submit(connection, selection, requested_by=f"cli {getpass.getuser()}")
                _say_what_holds_it(connection, is_own=run)
            if run or wait:
                with dagster_processes(settings) if run else nullcontext() as processes:
                    found = _follow(engine, request_id, processes, stopped)
            else:
                found = _look(engine, request_id)
        print_request(found, as_json=as_json)
        if (run or wait) and not found.has_ended:
            raise typer.Exit(EXIT_STOPPED)
        if found.failed or found.status == "cancelled":
            raise typer.Exit(EXIT_FAILED)


def ignore(
    session_ids: Annotated[list[str], typer.Argument(help="UUIDs of recording sessions.")],
    undo: Annotated[bool, typer.Option("--undo", help="Bring them back.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take sessions out of the work list for good.

    Example: heimdall ignore 6f0f5d2e-7f0b-5c55-9a5e-1d0f6f7a2c11
    """
    with reporting(as_json=as_json, debug=debug):
        keys = [session_id_of(text) for text in session_ids]
        with connected(load_settings()) as engine, transaction(engine) as connection:
            changed = states.ignore(connection, keys, undo=undo)
            missing = [key for key in keys if states.state_of(connection, key) is None]
        if missing:
            raise UnknownSession(f"there is no completed recording session {missing[0]}")
        if as_json:
            print_json({"changed": changed})
        else:
            out.print(f"{len(changed)} of {len(keys)} sessions {'brought back' if undo else 'ignored'}", markup=False)


def _refuse_contradictions(*alternatives: Mapping[str, bool]) -> None:
    for options in alternatives:
        given = [name for name, is_given in options.items() if is_given]
        if len(given) > 1:
            raise SettingError(f"{given[0]} and {given[1]} exclude one another")


def _asked_session(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise SettingError(f"--session {text!r} is not allowed: a session's UUID") from None


def _require_sessions(connection: Connection, session_ids: Sequence[str]) -> None:
    """Raise UnknownSession where one that was named does not exist: it would be left out without a word."""
    missing = sessions.missing_sessions(connection, [UUID(text) for text in session_ids])
    if missing:
        raise UnknownSession(f"there is no completed recording session {missing[0]}")


def _moment(option: str, text: str | None) -> str | None:
    return None if text is None else moment(option, text).isoformat()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _say_what_holds_it(connection: Connection, *, is_own: bool) -> None:
    """Tell whoever asks for something why nothing happens; ``is_own``: this process carries it out."""
    held = pauses.current_pause(connection)
    if held is not None:
        warn(f"{held.in_words}: the request waits until `heimdall resume`")
    if not is_own and not is_daemon_alive(connection):
        warn("no daemon is alive: the request waits until `heimdall up` or a dagster-daemon runs")


def _look(engine: Engine, request_id: UUID) -> progress.Progress:
    with transaction(engine) as connection:
        return progress.progress(connection, request_id)


def _follow(
    engine: Engine, request_id: UUID, processes: Processes | None, stopped: threading.Event
) -> progress.Progress:
    """Watch a request until it ends; a stop signal ends the watching, not the request.

    With processes, a daemon of our own is started among them once no other is alive.
    """
    is_ours = False
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=err,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("backfill", total=None)
        found = _look(engine, request_id)
        while not found.has_ended and not stopped.is_set():
            if processes is not None and is_ours:
                processes.check()
            elif processes is not None and not _has_daemon(engine):
                start_daemon(processes)
                is_ours = True
            stopped.wait(POLL_S)
            found = _look(engine, request_id)
            bar.update(task, total=found.total_found or None, completed=found.done + found.failed)
    if is_ours and found.has_ended:
        _await_reports(engine, stopped)
    return found


def _has_daemon(engine: Engine) -> bool:
    """Whether a daemon was at work a moment ago, and has not ended since, as far as this machine knows."""
    with transaction(engine) as connection:
        planner = process_of(connection, PLANNER)
        return is_daemon_alive(connection) and not (planner is not None and planner.is_gone)


def _await_reports(engine: Engine, stopped: threading.Event) -> None:
    """Let the last runs end before their daemon is stopped: they mark their failed partitions at the end."""
    deadline = time.monotonic() + REPORTS_TIMEOUT_S
    while time.monotonic() < deadline and not stopped.wait(POLL_S):
        with transaction(engine) as connection:
            if coverage.is_report_current(connection):
                return
