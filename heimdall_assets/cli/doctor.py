"""`heimdall doctor`: is everything there that the pipeline needs, and what to do where it is not."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from heimdall_assets.cli.console import EXIT_FAILED, DebugOption, JsonOption, out, print_json, reporting
from heimdall_assets.diagnosis import FAILURE, OK, WARNING, diagnose
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heimdall_assets.diagnosis import Finding

STYLES = {OK: "green", WARNING: "yellow", FAILURE: "red"}


def doctor(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check database, migrations, daemon, code, recordings, clock and disks; start nothing, change nothing.

    Exits with 1 if anything is a failure.

    Example: heimdall doctor --json
    """
    with reporting(as_json=as_json, debug=debug):
        findings = diagnose(load_settings())
        if as_json:
            print_json([asdict(finding) for finding in findings])
        else:
            _print(findings)
        if any(finding.status == FAILURE for finding in findings):
            raise typer.Exit(EXIT_FAILED)


def _print(findings: Sequence[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        out.print(f"{finding.status:8}", style=STYLES[finding.status], end="")
        out.print(f"{finding.check:{width}}  {finding.message}", markup=False)
        if finding.remedy is not None:
            out.print(f"{'':{8 + width}}  -> {finding.remedy}", markup=False)
