"""The compose file cannot be run here; but what it names of ours exists."""

from __future__ import annotations

import re
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from typer.main import get_command

from heimdall_assets.cli.app import app
from heimdall_assets.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    """Of the compose file, by name."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    return found


def test_every_variable_of_ours_is_a_setting(services: dict[str, dict[str, Any]]) -> None:
    names = {name for service in services.values() for name in service.get("environment", {})}
    ours = {name for name in names if name.startswith(PREFIX)}
    assert {"HEIMDALL_DATABASE_URL", "HEIMDALL_CELERY_BROKER_URL"} < ours
    assert ours <= {Settings.variable(name) for name in Settings.model_fields}


def test_every_command_of_ours_exists(services: dict[str, dict[str, Any]]) -> None:
    commands = [service["command"] for service in services.values() if service["image"] == "heimdall-assets"]
    assert {command[0] for command in commands} == {"heimdall", "dagster-webserver", "dagster-daemon", "python"}
    installed = sysconfig.get_path("scripts")  # of this environment, which need not be on the PATH
    assert all(shutil.which(command[0], path=installed) for command in commands)
    words = {command[1] for command in commands if command[0] == "heimdall"}
    assert words <= set(get_command(app).commands)  # type: ignore[attr-defined]  # a group


def test_what_waits_for_a_service_waits_for_one_that_is_there(services: dict[str, dict[str, Any]]) -> None:
    awaited = {name for service in services.values() for name in service.get("depends_on", ())}
    assert {"postgres", "rabbitmq", "upgrade"} <= awaited <= set(services)


def test_the_image_is_made_of_files_that_exist() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split())
