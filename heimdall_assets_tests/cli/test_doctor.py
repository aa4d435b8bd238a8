"""`heimdall doctor` as people and monitors run it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.db import heartbeats
from heimdall_assets.db.engine import transaction
from heimdall_assets.release import this_process
from heimdall_assets_tests.pooler import needs_pgbouncer, pooled

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from sqlalchemy.engine import URL, Engine

    from heimdall_assets.settings import Settings


def test_a_failure_is_exit_1_and_everything_else_is_exit_0(
    environment: Path, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = CliRunner().invoke(app, ["doctor", "--json"])
    findings = {finding["check"]: finding for finding in json.loads(failing.stdout)}
    assert (failing.exit_code, failing.stderr) == (1, "")
    assert all(list(finding) == ["check", "status", "message", "remedy"] for finding in findings.values())
    assert findings["database"]["status"] == "ok"
    assert findings["daemon"]["status"] == "failure"
    with transaction(engine) as connection:
        heartbeats.beat(connection, heartbeats.PLANNER, this_process())
    monkeypatch.setenv("HEIMDALL_DAGSTER_DATABASE_URL", str(settings.database_url))
    settings.home.mkdir()
    healthy = CliRunner().invoke(app, ["doctor"])
    lines = [line for line in healthy.stdout.splitlines() if "->" not in line]
    assert {line.split()[0] for line in lines if not line.split()[1].startswith("disk")} == {"ok"}
    is_full = any(line.startswith("failure") for line in lines)  # the disk of the machine that tests
    assert healthy.exit_code == (1 if is_full else 0)


@needs_pgbouncer
def test_a_pooler_in_transaction_mode_is_a_failure_with_what_to_do_and_commands_refuse_it(
    environment: Path, database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pooled(database_url, "transaction") as url:
        for variable in ("HEIMDALL_DATABASE_URL", "HEIMDALL_DAGSTER_DATABASE_URL"):
            monkeypatch.setenv(variable, url.render_as_string(hide_password=False))
        findings = {each["check"]: each for each in json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)}
        refused = [
            CliRunner().invoke(app, command) for command in (["stats"], ["db", "upgrade"], ["backfill", "--all"])
        ]
    for check in ("database", "dagster_database"):
        assert findings[check]["status"] == "failure"
        assert "a pooler in transaction mode" in findings[check]["message"]
        assert findings[check]["remedy"].startswith("set pool_mode = session")
    for result in refused:
        assert result.exit_code == 1
        assert re.fullmatch(r"heimdall: .* pooler in transaction mode.*: set pool_mode = session.*\n", result.stderr)


@needs_pgbouncer
def test_a_pooler_that_keeps_sessions_is_named(
    environment: Path, database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pooled(database_url, "session") as url:
        monkeypatch.setenv("HEIMDALL_DATABASE_URL", url.render_as_string(hide_password=False))
        findings = {each["check"]: each for each in json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)}
    assert findings["database"]["status"] == "ok"
    assert findings["database"]["message"].endswith(", through a pooler that keeps sessions")
