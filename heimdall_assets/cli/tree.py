"""The command's tree: every subcommand by name, and where it is.

What one command imports takes a second that the others do not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer

PACKAGE = "heimdall_assets.cli"

COMMANDS = {
    "demo": "demo.demo",
    "up": "running.up",
    "worker": "worker.worker",
    "ingest": "recordings.ingest",
    "extract": "recordings.extract",
    "plot": "plots.plot",
    "features": "features.features",
    "show": "session.show",
    "stats": "coverage.stats",
    "failures": "coverage.failures",
    "dashboard": "dashboard.dashboard",
    "export": "export.export",
    "backfill": "backfill.backfill",
    "compare": "comparison.compare",
    "verify": "verification.verify",
    "pause": "pauses.pause",
    "resume": "pauses.resume",
    "ignore": "backfill.ignore",
    "reconcile": "reconcile.reconcile",
    "doctor": "doctor.doctor",
    "settings": "running.settings",
}
"""Name -> module and function."""

GROUPS = {
    "db": "database.app",
    "receivers": "receivers.app",
    "requests": "requests.app",
}
"""Name -> module and Typer application."""


def build_app(word: str | None = None) -> typer.Typer:
    """Build the command.

    Parameters
    ----------
    word : str, optional
        Where it names a command or a group, there is nothing else in the tree, and nothing else is imported.
    """
    app = typer.Typer(
        name="heimdall",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
    )
    app.callback()(_heimdall)
    is_named = word in COMMANDS or word in GROUPS
    for name, place in GROUPS.items():
        if name == word or not is_named:
            app.add_typer(_imported(place), name=name)
    for name, place in COMMANDS.items():
        if name == word or not is_named:
            app.command(name)(_imported(place))
    return app


def _heimdall() -> None:
    """Recording sessions to measurement features."""


def _imported(place: str) -> Any:
    module, _, name = place.partition(".")
    return getattr(import_module(f"{PACKAGE}.{module}"), name)
