"""`heimdall pause` and `resume`: the switch that holds sensor, schedule and requests."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heimdall_assets.cli.console import DebugOption, JsonOption, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.db import pauses
from heimdall_assets.db.engine import transaction
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from heimdall_assets.db.pauses import Pause


def pause(
    reason: Annotated[str | None, typer.Option(help="Why, in a line that everybody will read.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Plan nothing until `heimdall resume`: sensor, schedule and requests wait; what runs ends.

    What waits in Dagster's queue is taken back, and planned anew afterwards. New sessions are still discovered, and
    requests are still recorded. A backfill from Dagster's UI is somebody's own doing, and runs all the same.

    Example: heimdall pause --reason "the disks are being exchanged"
    """
    with reporting(as_json=as_json, debug=debug):
        with connected(load_settings()) as engine, transaction(engine) as connection:
            held, is_new = pauses.pause(connection, by=f"cli {getpass.getuser()}", reason=reason)
        if as_json:
            print_json({**_document(held), "changed": is_new})
        else:
            out.print(held.in_words if is_new else f"was {held.in_words}", markup=False)


def resume(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Let sensor, schedule and requests go on after `heimdall pause`.

    Example: heimdall resume
    """
    with reporting(as_json=as_json, debug=debug):
        with connected(load_settings()) as engine, transaction(engine) as connection:
            ended = pauses.resume(connection, by=f"cli {getpass.getuser()}")
        if as_json:
            print_json({**_document(None), "changed": ended is not None})
        else:
            out.print("was not paused" if ended is None else f"resumed; was {ended.in_words}", markup=False)


def _document(held: Pause | None) -> dict[str, Any]:
    known = {"paused_at": None, "paused_by": None, "reason": None} if held is None else asdict(held)
    return {"paused": held is not None, **known}
