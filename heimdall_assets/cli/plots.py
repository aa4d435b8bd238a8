"""`heimdall plot`: pictures of recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heimdall_assets.cli.console import DebugOption, JsonOption, out, print_json, reporting
from heimdall_assets.cli.recordings import FormatOption, number_of_chunks
from heimdall_assets.errors import SettingError
from heimdall_assets.iq import assumed_rate, open_iq, sentence
from heimdall_assets.settings import load_settings

SUFFIXES = (".png", ".svg", ".pdf")


def plot(
    file: Annotated[str, typer.Argument(help="A recording of any format that is read: a file or a URL.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture: .png, .svg or .pdf.")],
    sample_rate_hz: Annotated[
        float | None, typer.Option(min=1e-3, max=1e12, help="For files that do not say it themselves.")
    ] = None,
    center_frequency_hz: Annotated[
        float | None, typer.Option(min=1e-3, max=1e15, help="For files that do not say it themselves.")
    ] = None,
    format: FormatOption = None,  # noqa: A002  # the option's name
    chunk_ms: Annotated[float | None, typer.Option(min=1e-3, max=60_000.0, help="Duration of a chunk in ms.")] = None,
    chunks: Annotated[str | None, typer.Option(help="How many chunks are analysed, or all.")] = None,
    start_chunk: Annotated[int, typer.Option(min=0, help="The first of them, counted from 0.")] = 0,
    dark: Annotated[bool, typer.Option("--dark", help="For dark pages.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Draw a recording: spectrum with noise floor, support, occupied bandwidth and carrier; spectrogram; envelope.

    The numbers are those that extract prints for the same chunks.

    Example: heimdall plot --sample-rate-hz 200000 recording.cf32 -o recording.png
    """
    with reporting(as_json=as_json, debug=debug):
        if output.suffix.lower() not in SUFFIXES:
            raise SettingError(f"--output {str(output)!r} is not allowed: it must end in {', '.join(SUFFIXES)}")
        settings = load_settings()
        num_chunks = number_of_chunks(chunks, settings)
        # Half a second of imports that no other command needs.
        from heimdall_assets.plots.canvas import save  # noqa: PLC0415
        from heimdall_assets.plots.recording import recording_figure  # noqa: PLC0415
        from heimdall_assets.plots.view import view_of  # noqa: PLC0415

        opened = open_iq(
            file,
            format=format,
            sample_rate_hz=sample_rate_hz,
            center_frequency_hz=center_frequency_hz,
            max_bytes=settings.max_object_bytes,
        )
        with opened as recording:
            view = view_of(
                recording,
                name=file.rpartition("/")[2],
                sample_rate_hz=recording.sample_rate_hz or settings.default_sample_rate_hz,
                chunk_duration_ms=chunk_ms or settings.chunk_ms,
                num_chunks=num_chunks,
                start_chunk=start_chunk,
                false_alarm_probability=settings.false_alarm_probability,
            )
            remarks = [sentence(remark) for remark in recording.remarks]
            if recording.sample_rate_hz is None:
                remarks.append(sentence(assumed_rate(view.sample_rate_hz)))
        save(recording_figure(view, dark=dark), output)
        figures = view.spectrum.figures
        if as_json:
            first_s, last_s = view.analysed_s
            print_json(
                {
                    "file": file,
                    "output": str(output),
                    "format": view.format,
                    "sample_rate_hz": view.sample_rate_hz,
                    "center_frequency_hz": view.center_frequency_hz,
                    "start_time": view.start_time,
                    "analysed_s": [first_s, last_s],
                    "features": figures.features,
                    "notes": {**figures.notes, "remarks": [*remarks, *figures.notes["remarks"]]},
                }
            )
        else:
            out.print(str(output), markup=False)
