"""`heimdall demo`: the whole pipeline on a synthetic network, from nothing to coverage."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from heimdall_assets.cli.console import DebugOption, JsonOption, err, out, print_json, reporting
from heimdall_assets.cli.coverage import stats_table
from heimdall_assets.cli.database import connected
from heimdall_assets.db import coverage, pauses
from heimdall_assets.db.engine import transaction
from heimdall_assets.ingest import ingest
from heimdall_assets.processes import ProcessFailed, stop_signals, wait_until
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.services import dagster_processes, start_daemon
from heimdall_assets.settings import Settings, load_settings
from heimdall_assets.synthetic import Fault, SyntheticNetwork

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine

    from heimdall_assets.ingest import Ingested

DRAIN_TIMEOUT_S = 600.0
REPORT_TIMEOUT_S = 60.0
SEED = 1
"""Of the network: everybody's demo is the same."""

_OTHER_DATABASES = ("database_url", "dagster_database_url", "iq_root", "iq_extra_roots")


def demo(
    sessions: Annotated[int, typer.Option(min=1, max=10_000, help="Synthetic sessions.")] = 40,
    receivers: Annotated[int, typer.Option(min=2, max=19, help="Receivers of the synthetic network.")] = 7,
    recordings: Annotated[list[Path] | None, typer.Option(help="Folder of real recordings to add.")] = None,
    home: Annotated[Path | None, typer.Option(help="Instead of HEIMDALL_HOME/demo.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the real pipeline on a synthetic network, some of it broken on purpose, in a home of its own.

    Example: heimdall demo --recordings recordings/dcf77_20171127
    """
    with reporting(as_json=as_json, debug=debug), stop_signals() as stopped:
        started = time.monotonic()
        settings = _demo_settings(home)
        with connected(settings) as engine:
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                console=err,
                transient=True,
                disable=as_json or not sys.stderr.isatty(),
            ) as progress:
                _register(engine, settings, sessions, receivers, recordings or [], progress, stopped)
                _drain(engine, settings, progress, stopped)
            with transaction(engine) as connection:
                figures = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
                failed = coverage.failed_sessions(connection)
        document = {
            **figures,
            "failed": [
                {"session_id": row.recording_session_id, "reason": row.reason, "message": row.message} for row in failed
            ],
            "seconds": round(time.monotonic() - started, 1),
        }
        if as_json:
            print_json(document)
        else:
            _print_result(document, settings)


def _demo_settings(home: Path | None) -> Settings:
    """Settings with a home, a server and recordings of their own: real data is never touched."""
    # The variables go for this process and for those that it starts.
    for name in _OTHER_DATABASES:
        os.environ.pop(Settings.variable(name), None)
    base = load_settings() if home is None else load_settings(home=home)
    return base if home is not None else load_settings(home=base.home / "demo")


def _register(
    engine: Engine,
    settings: Settings,
    sessions: int,
    receivers: int,
    recordings: Sequence[Path],
    progress: Progress,
    stopped: threading.Event,
) -> None:
    """Write the network's sessions below the IQ root, register them, and break what is to be missing."""
    network = SyntheticNetwork(seed=SEED, num_receivers=receivers)
    root = Path(settings.resolved_iq_root)
    root.mkdir(parents=True, exist_ok=True)
    task = progress.add_task("synthesizing", total=sessions)
    for session in network.sessions(sessions):
        if stopped.is_set():
            raise KeyboardInterrupt
        folder = root / f"synthetic-{receivers}" / session.name
        has_vanished = session.fault is Fault.MISSING and (folder / "registered").exists()
        if not has_vanished:
            network.write(session, folder.parent)
            _require_registered(next(ingest([folder], engine, settings)))
        if session.fault is Fault.MISSING and not has_vanished:
            (folder / "registered").touch()
            for file in folder.glob("*.npy"):
                file.unlink()
        progress.advance(task)
    for result in ingest(recordings, engine, settings):
        _require_registered(result)


def _require_registered(result: Ingested) -> None:
    if result.error is not None:
        raise result.error


def _drain(engine: Engine, settings: Settings, progress: Progress, stopped: threading.Event) -> None:
    """Run Dagster's daemon, sensor on, until nothing is pending or running and coverage has been reported."""
    with transaction(engine) as connection:
        figures = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
        if not _num_open(figures):
            return
        pauses.require_running(connection)
    total = int(figures["total_recordings"] or 0)
    task = progress.add_task("extracting", total=total)
    with dagster_processes(settings) as processes:
        start_daemon(processes)
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while _num_open(figures):
            if stopped.wait(0.5):
                raise KeyboardInterrupt
            processes.check()
            with transaction(engine) as connection:
                figures = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
            progress.update(task, completed=total - _num_open(figures))
            if time.monotonic() > deadline:
                raise ProcessFailed(
                    f"{_num_open(figures)} sessions are still open after {DRAIN_TIMEOUT_S:g} s: "
                    f"see {processes.log_path('daemon')}"
                )
        # The sensor reports coverage once the runs have ended: then Dagster's log is complete too.
        wait_until(lambda: _is_reported(engine), stopped=stopped, timeout_s=REPORT_TIMEOUT_S)


def _num_open(figures: dict[str, int | float | None]) -> int:
    return int(figures["recordings_pending"] or 0) + int(figures["recordings_running"] or 0)


def _is_reported(engine: Engine) -> bool:
    with transaction(engine) as connection:
        return coverage.is_report_current(connection)


def _print_result(document: dict[str, Any], settings: Settings) -> None:
    figures = {name: value for name, value in document.items() if name not in {"failed", "seconds"}}
    out.print(stats_table(figures))
    for failure in document["failed"]:
        out.print(f"failed: {failure['session_id']}  {failure['reason']}: {failure['message']}", markup=False)
    out.print(f"\n{document['seconds']} s. Where to look:", markup=False)
    home = settings.home
    out.print(f"  heimdall up --home {home}          Dagster's UI on http://127.0.0.1:3000", markup=False)
    out.print(f"  HEIMDALL_HOME={home} heimdall stats | failures | show SESSION_ID", markup=False)
