"""`heimdall verify`: a session computed once more, and held against what is stored."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from heimdall_assets.cli.console import EXIT_FAILED, DebugOption, JsonOption, out, print_json, reporting, session_id_of
from heimdall_assets.cli.database import connected
from heimdall_assets.extraction.recompute import recompute
from heimdall_assets.extraction.verification import verify as findings_of
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import load_settings


def verify(
    session_id: Annotated[str, typer.Argument(help="UUID of a recording session.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compute a session once more and compare: figures and inputs; nothing is stored. Exit 1 where they differ.

    Example: heimdall verify 6f0f5d2e-7f0b-5c55-9a5e-1d0f6f7a2c11
    """
    with reporting(as_json=as_json, debug=debug):
        key = session_id_of(session_id)
        settings = load_settings()
        with connected(settings) as engine:
            recomputed = recompute(engine, key, settings)
        findings = findings_of(recomputed)
        if as_json:
            print_json(
                {
                    "session_id": key,
                    "verifies": not findings,
                    "stored_feature_version": recomputed.stored.feature_version,
                    "feature_version": FEATURE_VERSION,
                    "receivers": recomputed.stored.num_receivers,
                    "findings": [asdict(finding) for finding in findings],
                }
            )
        elif findings:
            out.print(f"session {key} does not verify:", markup=False)
            for finding in findings:
                out.print(f"  {finding.message}", markup=False)
        else:
            receivers = recomputed.stored.num_receivers
            out.print(f"session {key} verifies: {receivers} receivers, version {FEATURE_VERSION}", markup=False)
        if findings:
            raise typer.Exit(EXIT_FAILED)
