"""`heimdall receivers`: what is known of each receiver, since when, and what a change makes stale."""

from __future__ import annotations

import difflib
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from heimdall_assets.cli.console import DebugOption, JsonOption, moment, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.cli.response import read_response
from heimdall_assets.db import receivers, states
from heimdall_assets.db.engine import transaction
from heimdall_assets.errors import SettingError, UnknownStation
from heimdall_assets.records import ReceiverSettings
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""No recording is older."""

MAX_CALIBRATION_DB = 300.0
MAX_PASSBAND_HZ = 1e9
NEAR_MATCHES = 3

FromOption = Annotated[
    str | None,
    typer.Option("--from", help="Since when, ISO 8601, or `beginning`: for every recording. Default: from now on."),
]

app = typer.Typer(
    help="""Settings of receivers: calibration, passband, offset, response; each holds from a moment on.

    Example: heimdall receivers list
    """,
    no_args_is_help=True,
)


@app.command("list")
def show_all(
    everything: Annotated[bool, typer.Option("--all", help="With all that was set before, or for later.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show every receiver with its settings now; defaults where none were set.

    Example: heimdall receivers list --all
    """
    with reporting(as_json=as_json, debug=debug), connected(load_settings()) as engine:
        with transaction(engine) as connection:
            names = receivers.station_names(connection)
            history = receivers.settings_history(connection)
            now = states.database_time(connection)
        documents = []
        # What was set for a receiver that was removed is shown too: it waits for one of its name.
        for name in sorted({*names, *(item.station for item in history)}):
            own = [item for item in history if item.station == name]
            held = [item for item in own if item.valid_from <= now]
            documents.append(
                {
                    "station": name,
                    "is_registered": name in names,
                    **(_held(held[-1].settings, held[-1].valid_from) if held else _held(ReceiverSettings(), None)),
                    **({"history": [_held(item.settings, item.valid_from) for item in own]} if everything else {}),
                }
            )
        if as_json:
            print_json(documents)
        else:
            _print_list(documents)


@app.command("set")
def set_one(
    station: Annotated[str, typer.Argument(help="Name of a receiver.")],
    since: FromOption = None,
    calibration_db: Annotated[
        float | None, typer.Option(help="Added to dB of full scale to make them dBm; 30 by default.")
    ] = None,
    passband_hz: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="What its filter lets through, in Hz from the centre frequency."),
    ] = None,
    no_passband: Annotated[
        bool, typer.Option("--no-passband", help="No known filter: the sampled band, or what the samples tell.")
    ] = False,
    remove_dc: Annotated[
        bool | None,
        typer.Option(
            "--remove-dc/--keep-dc", help="Take off the receiver's own offset; never where it is tuned onto a carrier."
        ),
    ] = None,
    response: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="How strong white noise is in its output: a CSV with the header offset_hz,response_db."
        ),
    ] = None,
    no_response: Annotated[
        bool, typer.Option("--no-response", help="No known response: it is estimated from the samples.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Set what is known of a receiver; what is not given stays as it is.

    It holds for the recordings that start then or later, until the receiver's next setting. Features that were
    computed with other values become stale.

    Example: heimdall receivers set "HB9RYZ" --from 2026-01-31 --calibration-db -13.5 --passband-hz -3000 3000
    """
    with reporting(as_json=as_json, debug=debug):
        values = _values(calibration_db, passband_hz, no_passband, remove_dc)
        values |= _response_values(response, no_response)
        if not values:
            raise SettingError(
                "say what to set: --calibration-db X, --passband-hz LOW HIGH, --no-passband, --remove-dc, --keep-dc, "
                "--response FILE or --no-response"
            )
        valid_from = None if since is None else _since(since)
        with connected(load_settings()) as engine, transaction(engine) as connection:
            try:
                change = receivers.set_settings(connection, station, valid_from, **values)
            except UnknownStation as error:
                raise _with_near_matches(connection, station, error) from None
        _print_change(station, change, as_json=as_json)


@app.command("remove")
def remove(
    station: Annotated[str, typer.Argument(help="Name of a receiver.")],
    since: Annotated[str, typer.Option("--from", help="Of when the setting is, as `receivers list --all` shows it.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take a setting back: what held before it holds on.

    Example: heimdall receivers remove "HB9RYZ" --from 2026-01-31
    """
    with reporting(as_json=as_json, debug=debug):
        valid_from = _since(since)
        with connected(load_settings()) as engine, transaction(engine) as connection:
            try:
                change = receivers.remove_settings(connection, station, valid_from)
            except UnknownStation as error:
                raise _with_near_matches(connection, station, error) from None
        _print_change(station, change, as_json=as_json)


def _values(
    calibration_db: float | None, passband_hz: tuple[float, float] | None, no_passband: bool, remove_dc: bool | None
) -> dict[str, Any]:
    """The values that were given, checked."""
    values: dict[str, Any] = {}
    if calibration_db is not None:
        if not abs(calibration_db) <= MAX_CALIBRATION_DB:
            raise SettingError(
                f"--calibration-db {calibration_db:g} is not allowed: "
                f"-{MAX_CALIBRATION_DB:g} to {MAX_CALIBRATION_DB:g} dB"
            )
        values["calibration_db"] = calibration_db
    if passband_hz is not None:
        low_hz, high_hz = passband_hz
        if no_passband:
            raise SettingError("--passband-hz and --no-passband contradict each other")
        if not (math.isfinite(low_hz) and low_hz < high_hz and max(abs(low_hz), abs(high_hz)) <= MAX_PASSBAND_HZ):
            raise SettingError(
                f"--passband-hz {low_hz:g} {high_hz:g} is not allowed: two frequencies from the centre frequency, the "
                f"lower one first, within -{MAX_PASSBAND_HZ:g} to {MAX_PASSBAND_HZ:g} Hz"
            )
        values["passband_hz"] = passband_hz
    if no_passband:
        values["passband_hz"] = None
    if remove_dc is not None:
        values["remove_dc"] = remove_dc
    return values


def _response_values(path: Path | None, no_response: bool) -> dict[str, Any]:
    if path is not None and no_response:
        raise SettingError("--response and --no-response contradict each other")
    if path is not None:
        return {"response": read_response(path)}
    return {"response": None} if no_response else {}


def _since(text: str) -> datetime:
    if text == "beginning":
        return BEGINNING
    since = moment("--from", text)
    if since < BEGINNING:
        raise SettingError(f"--from {text!r} is not allowed: a time of 1970 or later, or beginning")
    return since


def _with_near_matches(connection: Connection, station: str, error: UnknownStation) -> UnknownStation:
    """The error, naming receivers that may have been meant."""
    names = receivers.station_names(connection)
    by_folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(station.casefold(), by_folded, n=NEAR_MATCHES)
    near += [folded for folded in by_folded if station.casefold() in folded and folded not in near]
    if near:
        return UnknownStation(f"{error.message}; did you mean {', '.join(by_folded[n] for n in near[:NEAR_MATCHES])}?")
    return UnknownStation(f"{error.message}: `heimdall receivers list` shows all {len(names)}")


def _held(settings: ReceiverSettings, valid_from: datetime | None) -> dict[str, Any]:
    return {
        "valid_from": valid_from,
        "calibration_db": settings.calibration_db,
        "passband_hz": settings.passband_hz,
        "remove_dc": settings.remove_dc,
        "response": settings.response,
    }


def _print_list(documents: list[dict[str, Any]]) -> None:
    if not documents:
        out.print("There is no receiver.")
        return
    table = Table(box=None)
    for heading in ("receiver", "since", "calibration_db", "passband_hz", "remove_dc", "response"):
        table.add_column(heading, justify="right" if heading.startswith("calibration") else "left")
    for document in documents:
        rows = [document] if "history" not in document else document["history"] or [document]
        for index, row in enumerate(rows):
            name = document["station"] + ("" if document["is_registered"] else " (no such receiver)")
            table.add_row(name if index == 0 else "", *_cells(row))
    out.print(table)


def _cells(held: dict[str, Any]) -> tuple[str, ...]:
    return (
        "never set" if held["valid_from"] is None else _time(held["valid_from"]),
        f"{held['calibration_db']:g}",
        "-" if held["passband_hz"] is None else "{:g} to {:g}".format(*held["passband_hz"]),
        "yes" if held["remove_dc"] else "no",
        "-" if held["response"] is None else _response_text(held["response"]),
    )


def _response_text(response: Sequence[tuple[float, float]]) -> str:
    levels_db = [level_db for _, level_db in response]
    return f"{len(response)} points, {min(levels_db):g} .. {max(levels_db):g} dB"


def _time(value: datetime) -> str:
    return "beginning" if value == BEGINNING else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _print_change(station: str, change: receivers.Change, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "station": station,
                **_held(change.settings, change.valid_from),
                "valid_until": change.valid_until,
                "changed": change.is_changed,
                "sessions_stale": change.sessions_stale,
                "sessions_current": change.sessions_current,
            }
        )
        return
    since, calibration, passband, removed, response = _cells(_held(change.settings, change.valid_from))
    until = "" if change.valid_until is None else f" until {_time(change.valid_until)}"
    out.print(
        f"{station} since {since}{until}: calibration_db {calibration}, passband_hz {passband}, remove_dc {removed}, "
        f"response {response}" + ("" if change.is_changed else " (as it was)"),
        markup=False,
    )
    if change.sessions_current:
        out.print(f"{change.sessions_current} sessions are current again", markup=False)
    if change.sessions_stale:
        out.print(
            f"{change.sessions_stale} sessions became stale: `heimdall backfill --stale` computes them again",
            markup=False,
        )
    elif change.is_changed and not change.sessions_current:
        out.print("no session became stale", markup=False)
