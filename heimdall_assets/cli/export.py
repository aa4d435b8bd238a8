"""`heimdall export`: the features of every session and receiver as one flat file, for machine learning."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from heimdall_assets.cli.console import DebugOption, JsonOption, err, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.cli.output import whole_file
from heimdall_assets.db.engine import transaction
from heimdall_assets.export import export_samples, require_writable_format
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import load_settings


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file: .parquet, .csv or .csv.gz.")],
    version: Annotated[int, typer.Option(min=1, help="Version of the estimators.")] = FEATURE_VERSION,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the training samples, a row a session and receiver, into a file.

    Example: heimdall export -o samples.parquet
    """
    with reporting(as_json=as_json, debug=debug):
        require_writable_format(str(output))
        settings = load_settings()
        with (
            connected(settings) as engine,
            transaction(engine) as connection,
            whole_file(output) as draft,
            Progress(console=err, transient=True, disable=not sys.stderr.isatty()) as progress,
        ):
            task = progress.add_task("exporting", total=None)
            exported = export_samples(
                connection,
                draft,
                name=output.name,
                feature_version=version,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        size = output.stat().st_size
        if as_json:
            print_json(
                {
                    "output": str(output),
                    "feature_version": version,
                    "rows": exported.samples,
                    "sessions": exported.sessions,
                    "bytes": size,
                }
            )
        else:
            out.print(
                f"{output}: {exported.samples:,} rows of {exported.sessions:,} sessions, version {version}, "
                f"{size / 1e6:.1f} MB",
                markup=False,
            )
