"""`heimdall pause` and `resume`, and what other commands say meanwhile."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Any

from heimdall_assets_tests.cli.test_backfill import run  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from heimdall_assets_tests.factory import SessionFactory


def test_a_pause_is_shown_until_it_is_resumed(run: Any, factory: SessionFactory) -> None:  # noqa: F811
    code, output, _ = run("pause", "--reason", "new [disks]", "--json")
    document = json.loads(output)
    assert code == 0
    assert document.pop("paused_at")
    assert document == {
        "paused": True,
        "paused_by": f"cli {getpass.getuser()}",
        "reason": "new [disks]",
        "changed": True,
    }
    code, output, _ = run("pause", "--reason", "another")
    assert code == 0
    assert output.startswith("was paused since ")
    assert output.endswith(f" by cli {getpass.getuser()}: new [disks]\n")
    assert run("stats")[1].endswith(": new [disks]; `heimdall resume` ends it\n")
    assert "paused" not in run("stats", "--json")[1]
    code, output, _ = run("resume")
    assert (code, output.startswith("resumed; was paused since ")) == (0, True)
    assert "paused" not in run("stats")[1]
    code, output, _ = run("resume", "--json")
    expected = {"paused": False, "paused_at": None, "paused_by": None, "reason": None, "changed": False}
    assert (code, json.loads(output)) == (0, expected)


def test_a_backfill_says_that_it_waits_and_is_not_carried_out_here(run: Any, factory: SessionFactory) -> None:  # noqa: F811
    factory.add()
    run("pause")
    code, output, errors = run("backfill", "--all", "--json")
    assert code == 0
    assert json.loads(output)["status"] == "queued"
    assert errors.startswith("paused since ")
    assert ": the request waits until `heimdall resume`\n" in errors
    code, output, errors = run("backfill", "--all", "--run", "--json")
    assert code == 1
    assert json.loads(output)["error"]["reason"] == "paused"
    assert factory.scalar("SELECT count(*) FROM heimdall.feature_requests") == 1


def test_a_bad_reason_is_one_line_and_exit_2(run: Any) -> None:  # noqa: F811
    code, output, errors = run("pause", "--reason", "a\nb")
    assert (code, output) == (2, "")
    assert errors == r"heimdall: the reason 'a\nb' is not allowed: one line of text, at most 300 characters" + "\n"
