"""`heimdall doctor` as people and monitors run it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.db import heartbeats
from heimdall_assets.db.engine import transaction
from heimdall_assets.release import this_process

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from sqlalchemy.engine import Engine

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
