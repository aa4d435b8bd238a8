"""`heimdall worker`: carries out runs on this machine for a daemon anywhere."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from heimdall_assets import embedded, logs
from heimdall_assets.cli.console import DebugOption, JsonOption, print_json, reporting
from heimdall_assets.db import migrate
from heimdall_assets.db.engine import open_engine
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.errors import SettingError
from heimdall_assets.settings import Settings, load_settings

QUEUES = ("fresh", "backfill")


def worker(
    queues: Annotated[
        str, typer.Option(help="Served queues, separated by commas, the most urgent first: fresh, backfill.")
    ] = ",".join(QUEUES),
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="Runs at the same time; each works on HEIMDALL_WORKERS sessions at once.")
    ] = 1,
    name: Annotated[
        str | None, typer.Option(help="Of the worker, unique on the machine; it stands on its runs.")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Carry out runs that the daemon sends through HEIMDALL_CELERY_BROKER_URL, until SIGTERM or SIGINT.

    A run that is under way then is finished first; a second signal stops it. DAGSTER_HOME is used where it is set, else
    one under HEIMDALL_HOME.

    Example: heimdall worker --queues fresh --concurrency 2
    """
    with reporting(as_json=as_json, debug=debug):
        served = _served(queues)
        settings = load_settings()
        if settings.celery_broker_url is None:
            raise SettingError(
                f"{settings.variable('celery_broker_url')} is not set: without it the daemon carries out runs itself"
            )
        _log_to_stderr(debug=debug)
        with embedded.database(settings):
            _require_upgraded(settings)
            os.environ.setdefault("DAGSTER_HOME", str(embedded.dagster_home(settings)))
            # Imported here: Dagster and Celery take seconds, which no other command should pay.
            from heimdall_assets.defs.launcher import require_celery  # noqa: PLC0415

            require_celery()
            from heimdall_assets.definitions import defs  # noqa: PLC0415
            from heimdall_assets.defs.fleet.worker import serve  # noqa: PLC0415

            # Where Celery says that it ends: standard output holds the document and nothing else.
            sys.__stdout__ = sys.__stderr__  # type: ignore[misc]  # declared as final

            def say_ready(worker: str) -> None:
                if as_json:
                    print_json({"worker": worker, "queues": served, "concurrency": concurrency})

            serve(settings, defs, queues=served, concurrency=concurrency, name=name, when_ready=say_ready)


def _served(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not set(names) <= set(QUEUES) or len(set(names)) < len(names):
        raise SettingError(f"--queues {text!r} is not allowed: one or both of {', '.join(QUEUES)}, each once")
    return names


def _require_upgraded(settings: Settings) -> None:
    """Raise DatabaseError where no run could work; no connection stays open that forked processes would share."""
    engine = open_engine(heimdall_url(settings), pool_size=1)
    try:
        migrate.require_current(engine)
    finally:
        engine.dispose()


def _log_to_stderr(*, debug: bool) -> None:
    level = logging.DEBUG if debug else logging.INFO
    if logs.is_json():
        logging.getLogger().setLevel(level)
    else:
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
