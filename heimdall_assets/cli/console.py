"""What every command shares: output for people or as JSON, errors as one line, exit codes."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from uuid import UUID

import typer
from rich.console import Console

from heimdall_assets import logs
from heimdall_assets.errors import HeimdallError, SettingError, UnknownSession

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

PIPE_WIDTH = 200
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_STOPPED = 130
"""As a shell reports what SIGINT ended."""

# A pipe has no width: tables must not be cut there.
out = Console(soft_wrap=True, highlight=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks and what happens inside.")]


def session_id_of(text: str) -> UUID:
    """The UUID that an argument names; what is none is no session's."""
    try:
        return UUID(text)
    except ValueError:
        raise UnknownSession(f"{text!r} is not a session's UUID") from None


def print_json(document: Any) -> None:
    """Print a JSON document: the only thing that a command with ``--json`` prints on standard output.

    Rows that other code wrote may hold NaN or infinity, which JSON does not know: they are null.
    """
    text = _dumped(document, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        text = _dumped(document, ensure_ascii=True)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _dumped(document: Any, *, ensure_ascii: bool) -> str:
    return json.dumps(_finite(document), indent=2, ensure_ascii=ensure_ascii, allow_nan=False, default=_plain)


@contextlib.contextmanager
def reporting(*, as_json: bool, debug: bool) -> Iterator[None]:
    """Run a command's body: the project's errors become one line and an exit code."""
    _configure_logging(debug=debug)
    try:
        yield
    except HeimdallError as error:
        if debug:
            raise
        fail(error, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_STOPPED) from None


def fail(error: HeimdallError, *, as_json: bool) -> NoReturn:
    """Report an error and exit: 2 for what the caller got wrong, 1 for everything else."""
    if as_json:
        print_json({"error": {"reason": error.reason, "message": error.message}})
    complain(error.message, reason=error.reason)
    raise typer.Exit(EXIT_USAGE if isinstance(error, SettingError) else EXIT_FAILED)


def complain(message: str, *, reason: str) -> None:
    """Say on standard error what failed: a line for people, or a JSON object where logs are JSON."""
    if logs.is_json():
        _configure_logging(debug=False)
        logger.error("%s", message, extra={"reason": reason})
    else:
        err.print(f"heimdall: {message}", markup=False, style="red")


def warn(message: str) -> None:
    """Say on standard error what somebody should know although nothing failed."""
    if logs.is_json():
        logger.warning("%s", message)
    else:
        err.print(message, markup=False, style="yellow")


def _configure_logging(*, debug: bool) -> None:
    if logs.is_json():
        logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[logs.json_handler()])
    else:
        text = "%(levelname)s %(name)s: %(message)s"
        logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, format=text)


def moment(option: str, text: str) -> datetime:
    """The ISO 8601 time that an option names; UTC where it names no zone."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(f"{option} {text!r} is not allowed: a time like 2026-01-31 or 2026-01-31T12:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
