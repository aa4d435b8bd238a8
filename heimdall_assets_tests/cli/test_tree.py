"""The command's tree: whole where all of it is asked for, and else what one command needs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.cli.tree import COMMANDS, GROUPS, build_app

COSTLY = ("scipy", "numba", "dagster", "fastapi", "heimdall_assets.dsp", "heimdall_assets.web.app")


def test_every_command_is_found_by_its_name_alone_and_says_the_same_of_itself() -> None:
    for name in (*COMMANDS, *GROUPS):
        alone, whole = (CliRunner().invoke(tree, [name, "--help"]) for tree in (build_app(name), app))
        assert (alone.exit_code, alone.stdout) == (0, whole.stdout)


def test_what_is_no_command_gets_the_whole_tree() -> None:
    for word in (None, "--help", "stat"):
        assert set(get_command(build_app(word)).commands) == {*COMMANDS, *GROUPS}  # type: ignore[attr-defined]


@pytest.mark.parametrize("word", ["stats", "failures", "pause", "requests"])
def test_a_command_that_only_asks_the_database_imports_no_more(word: str) -> None:
    code = f"""
import sys
from heimdall_assets.cli.tree import build_app
build_app({word!r})
print([name for name in {COSTLY!r} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
