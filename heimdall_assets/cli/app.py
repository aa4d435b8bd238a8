"""The command's tree: every subcommand by name."""

from __future__ import annotations

import sys

import typer

from heimdall_assets.cli import (
    backfill,
    comparison,
    coverage,
    dashboard,
    database,
    demo,
    doctor,
    export,
    features,
    pauses,
    plots,
    receivers,
    reconcile,
    recordings,
    requests,
    running,
    verification,
    worker,
)
from heimdall_assets.cli.console import EXIT_USAGE, complain

app = typer.Typer(
    name="heimdall",
    help="Recording sessions to measurement features.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
db_app = typer.Typer(help="The database: migrations, and the embedded PostgreSQL.", no_args_is_help=True)
app.add_typer(db_app, name="db")
receivers_app = typer.Typer(
    help="""Settings of receivers: calibration, passband, offset; each holds from a moment on.

    Example: heimdall receivers list
    """,
    no_args_is_help=True,
)
app.add_typer(receivers_app, name="receivers")
app.add_typer(requests.app, name="requests")

app.command("demo")(demo.demo)
app.command("up")(running.up)
app.command("worker")(worker.worker)
app.command("ingest")(recordings.ingest)
app.command("extract")(recordings.extract)
app.command("plot")(plots.plot)
app.command("features")(features.features)
app.command("show")(coverage.show)
app.command("stats")(coverage.stats)
app.command("failures")(coverage.failures)
app.command("dashboard")(dashboard.dashboard)
app.command("export")(export.export)
app.command("backfill")(backfill.backfill)
app.command("compare")(comparison.compare)
app.command("verify")(verification.verify)
app.command("pause")(pauses.pause)
app.command("resume")(pauses.resume)
app.command("ignore")(backfill.ignore)
app.command("reconcile")(reconcile.reconcile)
app.command("doctor")(doctor.doctor)
app.command("settings")(running.settings)
receivers_app.command("list")(receivers.show_all)
receivers_app.command("set")(receivers.set_one)
receivers_app.command("remove")(receivers.remove)
db_app.command("upgrade")(database.upgrade)
db_app.command("grants")(database.grants)
db_app.command("serve")(database.serve)


def main() -> None:
    """Entry point of the ``heimdall`` script: bad usage is one line, like every other error."""
    try:
        code = app(standalone_mode=False)
    except Exception as error:
        # Typer brings its own copy of click, older releases use the package: they share the methods, not the class.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        if "NoArgs" not in type(error).__name__:  # then the help was printed already
            complain(" ".join(describe().split()), reason="usage")
        code = EXIT_USAGE
    sys.exit(code)
