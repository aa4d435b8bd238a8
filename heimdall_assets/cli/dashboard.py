"""`heimdall dashboard`: the dashboard as one file, for mails and archives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heimdall_assets.cli.console import DebugOption, JsonOption, out, print_json, reporting
from heimdall_assets.cli.database import connected
from heimdall_assets.cli.output import whole_file
from heimdall_assets.db.engine import transaction
from heimdall_assets.errors import SettingError
from heimdall_assets.settings import load_settings


def dashboard(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file: .html.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the dashboard into one HTML file that loads nothing.

    Example: heimdall dashboard -o report.html
    """
    with reporting(as_json=as_json, debug=debug):
        if output.suffix.lower() not in {".html", ".htm"}:
            raise SettingError(f"--output {str(output)!r} is not allowed: it must end in .html")
        settings = load_settings()
        # A web framework that no other command needs.
        from heimdall_assets.web.pages import report_page  # noqa: PLC0415

        with connected(settings) as engine, transaction(engine) as connection:
            text = report_page(connection, settings)
        with whole_file(output) as draft:
            draft.write_text(text, encoding="utf-8")
        if as_json:
            print_json({"output": str(output), "bytes": len(text.encode())})
        else:
            out.print(str(output), markup=False)
