"""`heimdall up` and `heimdall settings`."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from heimdall_assets import embedded
from heimdall_assets.cli.console import DebugOption, JsonOption, err, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.pauses import current_pause
from heimdall_assets.errors import DatabaseUnavailable, SettingError
from heimdall_assets.processes import ProcessFailed, stop_signals, wait_until
from heimdall_assets.services import dagster_processes, start_api, start_daemon, start_webserver, start_workers
from heimdall_assets.settings import Settings, load_settings, settings_table
from heimdall_assets.web.tokens import admin_token, token_file

START_TIMEOUT_S = 120.0
HTTP_TIMEOUT_S = 5.0


def up(
    host: Annotated[str, typer.Option(help="Address that the webserver listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Dagster's UI.")] = 3000,
    api_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the admin API.")] = 8010,
    home: Annotated[Path | None, typer.Option(help="Instead of HEIMDALL_HOME.")] = None,
    workers: Annotated[
        int, typer.Option(min=0, max=64, help="`heimdall worker`s on this machine, for a HEIMDALL_CELERY_BROKER_URL.")
    ] = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run everything: PostgreSQL (unless a URL is set), Dagster's webserver and daemon, sensor and schedule on, API.

    SIGINT or SIGTERM stops it all. Where HEIMDALL_CELERY_BROKER_URL is set, runs go to the workers of that broker.

    Example: heimdall up --port 3001
    """
    with reporting(as_json=as_json, debug=debug), stop_signals() as stopped:
        settings = load_settings() if home is None else load_settings(home=home)
        if workers and settings.celery_broker_url is None:
            raise SettingError(f"--workers {workers} needs {settings.variable('celery_broker_url')}: Redis or RabbitMQ")
        name = f"[{host}]" if ":" in host else host
        address, api_address = f"http://{name}:{port}", f"http://{name}:{api_port}"
        with (
            connected(settings) as engine,
            dagster_processes(
                settings, workers=workers, dagster_ui_url=address, dashboard_url=api_address
            ) as processes,
        ):
            start_webserver(processes, host=host, port=port)
            start_api(processes, host=host, port=api_port)
            start_daemon(processes)
            start_workers(processes, workers)

            def is_ready() -> bool:
                if not processes.is_running("webserver"):
                    raise ProcessFailed(f"the webserver ended: see {processes.log_path('webserver')}")
                return _answers(f"{address}/server_info") and _answers(f"{api_address}/health/live")

            if not wait_until(is_ready, stopped=stopped, timeout_s=START_TIMEOUT_S):
                if stopped.is_set():
                    return
                raise ProcessFailed(f"{address} does not answer: see {processes.log_path('webserver')}")
            if as_json:
                print_json(
                    {
                        "dagster_ui": address,
                        "dashboard": _dashboard_address(api_address, settings),
                        "api": api_address,
                        "home": str(settings.home),
                        "logs": str(settings.home / "logs"),
                    }
                )
            else:
                _say_where(settings, address, api_address, workers)
                with transaction(engine) as connection:
                    held = current_pause(connection)
                if held is not None:
                    out.print(f"They plan nothing: {held.in_words}; `heimdall resume` ends it.", markup=False)
            sys.stdout.flush()
            while not stopped.wait(1.0):
                processes.check(for_ever=True)
                _keep_database(settings)
            err.print("stopping", markup=False)


def _say_where(settings: Settings, address: str, api_address: str, workers: int) -> None:
    lines = [
        f"Dagster UI  {address}",
        f"dashboard   {_dashboard_address(api_address, settings)}",
        f"admin API   {api_address}/docs",
    ]
    if settings.admin_token is None:
        lines.append(f"API token   in {token_file(settings.home)}")
    if settings.celery_broker_url is not None:
        lines.append(f"runs        on {workers} workers here, and every other `heimdall worker` of the broker")
    lines += [f"home        {settings.home}", f"logs        {settings.home / 'logs'}"]
    out.print("\n".join(lines), markup=False)
    out.print("Sensor and schedule are on. Ctrl-C stops everything.", markup=False)


def settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="The table of the README.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List every HEIMDALL_ variable with its default and meaning.

    Example: heimdall settings
    """
    with reporting(as_json=as_json, debug=debug):
        rows = settings_table()
        if as_json:
            print_json([{"variable": name, "default": default, "meaning": meaning} for name, default, meaning in rows])
        elif markdown:
            out.print("| variable | default | meaning |\n|---|---|---|", markup=False)
            for name, default, meaning in rows:
                out.print(f"| {name} | {default} | {meaning} |", markup=False)
        else:
            table = Table(box=None)
            for heading in ("variable", "default", "meaning"):
                table.add_column(heading)
            for row in rows:
                table.add_row(*row)
            out.print(table)


def _keep_database(settings: Settings) -> None:
    """Start the embedded PostgreSQL again where it died; everything else waits for it."""
    try:
        if embedded.revive(settings):
            err.print("PostgreSQL had ended: started again", markup=False)
    except DatabaseUnavailable as error:
        err.print(f"{error.message}: trying again", markup=False)


def _dashboard_address(api_address: str, settings: Settings) -> str:
    """Where the dashboard is; with the generated token behind the #, which no browser sends and no server logs."""
    if settings.admin_token is not None:
        return f"{api_address}/"
    return f"{api_address}/login#token={admin_token(settings)}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_S) as response:  # noqa: S310  # our own http address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
