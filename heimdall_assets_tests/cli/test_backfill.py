"""`heimdall backfill` and `ignore`, as commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from heimdall_assets.cli import main
from heimdall_assets_tests.cli.test_running import heimdall, left_behind, recording

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets_tests.factory import SessionFactory


@pytest.fixture
def run(environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command on the test's database; (exit code, standard output, standard error).

    In this process, through the script's entry point: to import everything anew takes two seconds a command.
    """

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["heimdall", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = capsys.readouterr()
        return int(ended.value.code or 0), output, errors

    return run_command


def test_a_dry_run_says_how_many_and_changes_nothing(run: Any, factory: SessionFactory) -> None:
    factory.add_many(7)
    code, output, _ = run("backfill", "--all", "--dry-run", "--json")
    assert (code, json.loads(output)) == (0, {"planned": 7})
    assert factory.scalar("SELECT count(*) FROM heimdall.feature_requests") == 0
    assert factory.scalar("SELECT count(*) FROM heimdall.feature_states") == 0


def test_without_a_daemon_the_request_is_kept_and_that_is_said(run: Any, factory: SessionFactory) -> None:
    factory.add()
    code, output, errors = run("backfill", "--limit", "5", "--json")
    assert code == 0
    assert json.loads(output)["status"] == "queued"
    assert errors.startswith("no daemon is alive")
    assert factory.rows("SELECT selection ->> 'limit', requested_by LIKE 'cli %' FROM heimdall.feature_requests") == [
        ("5", True)
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say which sessions"),
        (("--all", "--since", "yesterday"), "--since 'yesterday' is not allowed"),
        (("--limit", "0"), "Invalid value for '--limit'"),
        (("--all", "--session", "x"), "--all and --session exclude one another"),
        (("--all", "--run", "--wait"), "--run and --wait exclude one another"),
        (("--all", "--since", "2026-02-01", "--until", "2026-01-01"), "is not before --until 2026-01-01"),
        (("--session", "x"), "--session 'x' is not allowed"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(run: Any, arguments: tuple[str, ...], message: str) -> None:
    code, output, errors = run("backfill", *arguments)
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert not output


def test_a_session_that_does_not_exist_is_named_instead_of_left_out(run: Any, factory: SessionFactory) -> None:
    missing = "00000000-0000-0000-0000-000000000001"
    code, output, errors = run("backfill", "--session", str(factory.add()), "--session", missing, "--json")
    assert (code, json.loads(output)["error"]["reason"]) == (1, "unknown_session")
    assert f"there is no completed recording session {missing}" in errors
    assert factory.scalar("SELECT count(*) FROM heimdall.feature_requests") == 0


def test_a_session_can_be_ignored_and_brought_back(run: Any, factory: SessionFactory) -> None:
    key = factory.add()
    assert run("ignore", str(key))[:2] == (0, "1 of 1 sessions ignored\n")
    assert factory.state(key) == "ignored"
    assert run("ignore", str(key), "--undo")[0] == 0
    assert factory.state(key) == "pending"


def test_ignoring_what_does_not_exist_names_it_and_exits_with_1(run: Any) -> None:
    code, _, errors = run("ignore", "00000000-0000-0000-0000-000000000001")
    assert code == 1
    assert "there is no completed recording session 00000000-0000-0000-0000-000000000001" in errors
    assert run("ignore", "x")[0] == 1


def test_run_carries_the_request_out_where_nothing_is_running(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert heimdall(home, "ingest", str(recording(tmp_path, 1)))[0]["is_new"]
    progress = heimdall(home, "backfill", "--all", "--run")
    assert (progress["status"], progress["total_found"], progress["done"]) == ("done", 1, 1)
    assert heimdall(home, "stats")["recordings_with_features"] == 1
    assert not left_behind(home)
