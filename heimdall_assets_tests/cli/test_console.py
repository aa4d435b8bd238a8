"""What every command shares: JSON, one line of error, exit codes, help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from heimdall_assets.cli import main
from heimdall_assets.cli.app import app
from heimdall_assets.cli.console import fail, print_json, reporting
from heimdall_assets.errors import DatabaseUnavailable, SettingError, UnknownSession

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(command: Any, name: str) -> Iterator[tuple[str, ...]]:
    """Every command of the tree by its words, groups included."""
    yield tuple(name.split())
    for word, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{name} {word}".strip())


COMMANDS = [words for words in commands(get_command(app), "") if words not in {(), ("db",)}]


def test_the_documented_commands_are_there() -> None:
    wanted = {("demo",), ("up",), ("db", "upgrade"), ("ingest",), ("extract",), ("show",), ("stats",), ("failures",)}
    assert wanted <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_with_an_example(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Example: " in result.stdout
    assert f"heimdall {' '.join(words)}" in " ".join(result.stdout.partition("Example: ")[2].split())


@pytest.mark.parametrize("words", [[], ["db"], ["receivers"]])
def test_a_group_alone_shows_its_help(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "Usage: " in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-command"], "No such command 'no-such-command'."),
        (["stats", "--no-such-option"], "No such option: --no-such-option"),
        (["show"], "Missing argument"),
        (["db", "downgrade"], "No such command 'downgrade'."),
    ],
)
def test_bad_usage_of_the_script_is_one_line(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["heimdall", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"heimdall: {said}")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(("words", "code"), [(["settings"], 0), ([], 2), (["extract", "no.npy"], 1)])
def test_the_script_ends_with_the_commands_code(
    words: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["heimdall", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert (caught.value.code or 0) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["no-such-command"], ["stats", "--no-such-option"], ["show"], ["stats", "extra"]])
def test_bad_usage_is_exit_2_without_a_traceback(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: heimdall" in result.stderr
    assert "Traceback" not in result.stderr


def test_json_holds_ids_times_and_days_as_text_and_letters_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    key = uuid.uuid4()
    moment = datetime(2024, 3, 2, 10, 20, 30, tzinfo=UTC)
    print_json({"id": key, "at": moment, "day": date(2024, 3, 2), "name": "Düsseldorf", "none": None, "x": [1.5]})
    text = capsys.readouterr().out
    assert text.endswith("}\n")
    assert "Düsseldorf" in text
    assert json.loads(text) == {
        "id": str(key),
        "at": "2024-03-02T10:20:30+00:00",
        "day": "2024-03-02",
        "name": "Düsseldorf",
        "none": None,
        "x": [1.5],
    }


def test_json_has_null_for_numbers_that_json_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"gdop": float("nan"), "more": [float("inf"), {"x": -float("inf")}, 2.0], "pair": (1, float("nan"))})
    assert json.loads(capsys.readouterr().out) == {"gdop": None, "more": [None, {"x": None}, 2.0], "pair": [1, None]}


def test_json_refuses_what_has_no_place_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TypeError, match="object has no place in JSON"):
        print_json({"x": object()})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingError("HEIMDALL_X=1 is not allowed"), 2),
        (DatabaseUnavailable("no\n  server\t answers [red]"), 1),
        (UnknownSession("nobody"), 1),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(error: Any, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught:
        fail(error, as_json=False)
    assert caught.value.exit_code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"heimdall: {' '.join(str(error).split())}\n"


def test_with_json_an_error_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reporting(as_json=True, debug=False):
        raise UnknownSession("there is no\nsuch session")
    printed = capsys.readouterr()
    message = "there is no such session"
    assert json.loads(printed.out) == {"error": {"reason": "unknown_session", "message": message}}
    assert printed.err == f"heimdall: {message}\n"


def test_with_debug_the_error_comes_through_with_its_traceback() -> None:
    with pytest.raises(UnknownSession, match="nobody"), reporting(as_json=False, debug=True):
        raise UnknownSession("nobody")


def test_an_interrupt_is_exit_130() -> None:
    with pytest.raises(typer.Exit) as caught, reporting(as_json=False, debug=False):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130


def test_a_reader_that_went_away_is_no_traceback() -> None:
    """As in `heimdall settings --json | head -1`, where head is the faster one."""
    reading, writing = os.pipe()
    os.close(reading)
    code = "from heimdall_assets.cli import main; main()"
    with os.fdopen(writing, "wb") as pipe:
        ended = subprocess.run(
            [sys.executable, "-c", code, "settings", "--json"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == ""


def test_the_settings_command_lists_every_variable() -> None:
    result = CliRunner().invoke(app, ["settings", "--json"])
    rows = json.loads(result.stdout)
    assert {"HEIMDALL_DATABASE_URL", "HEIMDALL_BATCH_SIZE", "HEIMDALL_IQ_ROOT"} <= {row["variable"] for row in rows}
    assert all(row["meaning"] for row in rows)


@pytest.mark.parametrize(
    ("words", "code", "reason", "message"),
    [
        (["extract", "no.npy"], 1, "not_found", "no.npy does not exist"),
        (["stats", "--no-such-option"], 2, "usage", "No such option: --no-such-option"),
        (["stats"], 2, "bad_setting", "HEIMDALL_BATCH_SIZE='0' is not allowed"),
    ],
)
def test_where_logs_are_json_an_error_is_one_object(words: list[str], code: int, reason: str, message: str) -> None:
    environment = {**os.environ, "HEIMDALL_LOG_FORMAT": "json"}
    if reason == "bad_setting":
        environment["HEIMDALL_BATCH_SIZE"] = "0"
    command = [sys.executable, "-m", "heimdall_assets.cli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    [line] = [json.loads(text) for text in done.stderr.splitlines()]
    assert (done.returncode, line["level"], line["reason"]) == (code, "ERROR", reason)
    assert message in line["message"]
