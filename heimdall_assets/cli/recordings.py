"""`heimdall ingest` and `heimdall extract`: recordings that come as files."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.progress import Progress

from heimdall_assets import ingest as ingesting
from heimdall_assets.cli.console import (
    EXIT_FAILED,
    DebugOption,
    JsonOption,
    complain,
    err,
    out,
    print_json,
    reporting,
    warn,
)
from heimdall_assets.cli.database import connected
from heimdall_assets.dsp import analyze
from heimdall_assets.errors import HeimdallError, SettingError
from heimdall_assets.iq import FORMAT_NAMES, open_iq, stretch_of
from heimdall_assets.settings import Settings, load_settings


def _format(text: str) -> str:
    """A name of the registry of formats."""
    if text.lower() not in FORMAT_NAMES:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(FORMAT_NAMES)}.")
    return text.lower()


FormatOption = Annotated[
    str | None,
    typer.Option(
        parser=_format,
        metavar=f"[{'|'.join(FORMAT_NAMES)}]",
        help="The format of raw files, where neither content nor name tells.",
    ),
]


def ingest(
    paths: Annotated[
        list[str],
        typer.Argument(help="Folders with stations.json, or recordings: paths, or s3://, gs:// and az:// URLs."),
    ],
    stations: Annotated[str | None, typer.Option(help="A stations.json that describes the files.")] = None,
    correct_stations: Annotated[
        bool,
        typer.Option("--correct-stations", help="Move receivers that are there to the places that are described."),
    ] = False,
    format: FormatOption = None,  # noqa: A002  # the option's name
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Register recordings as completed sessions; repeating it adds nothing.

    What is described otherwise than before is corrected, and named: rate, frequency, start, source. The features of
    the session are stale then.

    Example: heimdall ingest recordings/dcf77_20171127 s3://bucket/2025
    """
    with reporting(as_json=as_json, debug=debug):
        settings = load_settings()
        results = []
        with (
            connected(settings) as engine,
            Progress(console=err, transient=True, disable=not sys.stderr.isatty()) as progress,
        ):
            task = progress.add_task("registering", total=None)
            for result in ingesting.ingest(
                paths,
                engine,
                settings,
                stations_file=stations,
                format_name=format,
                correct_stations=correct_stations,
            ):
                results.append(result)
                progress.advance(task)
                if not as_json:
                    _print_ingested(result)
        if as_json:
            print_json([_ingested_document(result) for result in results])
        if any(result.error is not None for result in results):
            raise typer.Exit(EXIT_FAILED)


def _print_ingested(result: ingesting.Ingested) -> None:
    if result.error is not None:
        complain(f"{result.path}: {result.error.message}", reason=result.error.reason)
        return
    what = "new" if result.is_new else "corrected" if result.corrections else "known already"
    out.print(f"{result.session_id}  {what}, {result.num_measurements} receivers  {result.path}", markup=False)
    for each in result.corrections:
        what = each.field if each.receiver is None else f"{each.receiver}: {each.field}"
        out.print(f"  {what} {_value(each.before)} -> {_value(each.after)}", markup=False)
    if result.sessions_stale:
        out.print(
            f"  {result.sessions_stale} sessions became stale: `heimdall backfill --stale` computes them again",
            markup=False,
        )
    for warning in result.warnings:
        warn(f"warning: {warning}")


def _value(value: Any) -> str:
    return "none" if value is None else value.isoformat() if isinstance(value, datetime) else f"{value}"


def _ingested_document(result: ingesting.Ingested) -> dict[str, Any]:
    if result.error is not None:
        return {
            "path": result.path,
            "is_new": False,
            "warnings": [],
            "error": {"reason": result.error.reason, "message": result.error.message},
        }
    return {
        "path": result.path,
        "session_id": result.session_id,
        "is_new": result.is_new,
        "num_measurements": result.num_measurements,
        "warnings": list(result.warnings),
        "corrections": [asdict(each) for each in result.corrections],
        "sessions_stale": result.sessions_stale,
    }


def extract(
    files: Annotated[list[str], typer.Argument(help="Recordings of any format that is read: files or URLs.")],
    sample_rate_hz: Annotated[
        float | None, typer.Option(min=1e-3, max=1e12, help="For files that do not say it themselves.")
    ] = None,
    center_frequency_hz: Annotated[
        float | None, typer.Option(min=1e-3, max=1e15, help="For files that do not say it themselves.")
    ] = None,
    format: FormatOption = None,  # noqa: A002  # the option's name
    chunk_ms: Annotated[float | None, typer.Option(min=1e-3, max=60_000.0, help="Duration of a chunk in ms.")] = None,
    chunks: Annotated[str | None, typer.Option(help="How many chunks, or all.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compute the features of files, without a database.

    Example: heimdall extract --json --sample-rate-hz 200000 recording.cf32 zip://rx.wav::archive.zip
    """
    with reporting(as_json=as_json, debug=debug):
        settings = load_settings()
        num_chunks = number_of_chunks(chunks, settings)
        documents = []
        for file in files:
            try:
                document, remarks = _extract_file(
                    file,
                    settings,
                    sample_rate_hz=sample_rate_hz,
                    center_frequency_hz=center_frequency_hz,
                    format_name=format,
                    chunk_ms=chunk_ms or settings.chunk_ms,
                    num_chunks=num_chunks,
                )
                documents.append(document)
                if not as_json:
                    for remark in remarks:
                        warn(f"warning: {file}: {remark}")
            except SettingError:
                raise
            except HeimdallError as error:
                documents.append({"file": file, "error": {"reason": error.reason, "message": error.message}})
                complain(f"{file}: {error.message}", reason=error.reason)
        if as_json:
            print_json(documents)
        else:
            for document in documents:
                _print_extracted(document)
        if any("error" in document for document in documents):
            raise typer.Exit(EXIT_FAILED)


def number_of_chunks(text: str | None, settings: Settings) -> int | None:
    """What ``--chunks`` asks for: a number, None for all; the setting where it is not given."""
    if text is None:
        return settings.num_chunks
    if text == "all":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise SettingError(f"--chunks {text!r} is not allowed: a positive number, or all")


def _extract_file(
    file: str,
    settings: Settings,
    *,
    sample_rate_hz: float | None,
    center_frequency_hz: float | None,
    format_name: str | None,
    chunk_ms: float,
    num_chunks: int | None,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The document of a file, and what was assumed or passed over when it was read."""
    opened = open_iq(
        file,
        format=format_name,
        sample_rate_hz=sample_rate_hz,
        center_frequency_hz=center_frequency_hz,
        max_bytes=settings.max_object_bytes,
    )
    with opened as recording:
        stretch = stretch_of(
            recording,
            default_sample_rate_hz=settings.default_sample_rate_hz,
            chunk_ms=chunk_ms,
            num_chunks=num_chunks,
        )
        figures = analyze(
            recording.read(0, stretch.num_samples),
            stretch.sample_rate_hz,
            chunk_duration_ms=chunk_ms,
            num_chunks=num_chunks,
            false_alarm_probability=settings.false_alarm_probability,
        )
        available = max(1, min(stretch.num_samples, recording.num_samples) // max(1, stretch.chunk_length))
        document = {
            "file": file,
            "format": recording.format,
            "sample_rate_hz": stretch.sample_rate_hz,
            "center_frequency_hz": recording.center_frequency_hz,
            "start_time": recording.start_time,
            "num_samples": recording.num_samples,
            "num_chunks": available if num_chunks is None else min(num_chunks, available),
            "features": figures.features,
            "notes": {**figures.notes, "remarks": [*stretch.remarks, *figures.notes["remarks"]]},
        }
        return document, stretch.remarks


def _print_extracted(document: dict[str, Any]) -> None:
    if "error" in document:
        return
    out.print(
        f"{document['file']}  {document['format']}, {document['sample_rate_hz']:.10g} Hz, "
        f"{document['num_samples']} samples, {document['num_chunks']} chunks",
        markup=False,
    )
    for name, aggregate in document["features"].items():
        values = "  ".join(f"{k} {'-' if v is None else format(v, '.6g')}" for k, v in aggregate.items())
        out.print(f"  {name:28} {values}", markup=False)
