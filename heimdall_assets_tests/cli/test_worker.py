"""`heimdall worker` refuses what it cannot serve; that it works is tested where a daemon sends it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from heimdall_assets.cli import worker
from heimdall_assets.cli.app import app
from heimdall_assets.defs.fleet.app import QUEUES

if TYPE_CHECKING:
    from pathlib import Path


def test_without_a_broker_it_says_which_variable_is_missing(environment: Path) -> None:
    result = CliRunner().invoke(app, ["worker"])
    assert result.exit_code == 2
    assert result.stderr.startswith("heimdall: HEIMDALL_CELERY_BROKER_URL is not set")


@pytest.mark.parametrize("queues", ["fresh,fresh", "urgent", "", "fresh,,backfill"])
def test_queues_are_one_or_both(environment: Path, queues: str) -> None:
    result = CliRunner().invoke(app, ["worker", "--queues", queues])
    assert result.exit_code == 2
    assert result.stderr == f"heimdall: --queues {queues!r} is not allowed: one or both of fresh, backfill, each once\n"


def test_a_broker_that_is_none_is_refused_without_showing_its_password(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_CELERY_BROKER_URL", "kafka://user:hunter2@broker")
    result = CliRunner().invoke(app, ["worker"])
    assert result.exit_code == 2
    assert "HEIMDALL_CELERY_BROKER_URL=(hidden) is not allowed: a URL of RabbitMQ or Redis" in result.stderr
    assert "hunter2" not in result.output


def test_the_queues_are_those_of_the_launcher() -> None:
    assert worker.QUEUES == QUEUES


def test_up_has_no_use_for_workers_without_a_broker(environment: Path) -> None:
    result = CliRunner().invoke(app, ["up", "--workers", "2"])
    assert result.exit_code == 2
    assert result.stderr == "heimdall: --workers 2 needs HEIMDALL_CELERY_BROKER_URL: Redis or RabbitMQ\n"
