"""The admin API over real HTTP, as a process of its own."""

from __future__ import annotations

import json
import os
import stat
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import coverage, heartbeats
from heimdall_assets.db.engine import autocommit, open_engine, transaction
from heimdall_assets.processes import Processes
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.services import start_api
from heimdall_assets_tests.cli.test_running import free_port
from heimdall_assets_tests.conftest import environment_of
from heimdall_assets_tests.dagster_api import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

STATS = "/api/v1/admin/features/stats"


def get(address: str, path: str, token: str | None = None) -> tuple[int, dict[str, str], Any]:
    """Status, headers and document of a GET."""
    request = urllib.request.Request(address + path)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, dict(response.headers), json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


@pytest.fixture
def address(settings: Settings, tmp_path: Path) -> Iterator[str]:
    """A running API on the test's database, with a generated token."""
    port = free_port()
    with Processes({**os.environ, **environment_of(settings, tmp_path)}, tmp_path / "logs") as processes:
        start_api(processes, host="127.0.0.1", port=port)

        def is_up() -> bool:
            try:
                return get(f"http://127.0.0.1:{port}", "/health/live")[0] == 200
            except urllib.error.URLError:
                return False

        wait_for(is_up, "the API", timeout_s=30, poll_s=0.2)
        yield f"http://127.0.0.1:{port}"


def generated_token(settings: Settings) -> str:
    """The token that the API made; only its owner can read it."""
    path = settings.home / "admin.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text().strip()


def test_figures_need_the_token_and_are_those_of_stats(
    address: str, settings: Settings, factory: SessionFactory, engine: Engine
) -> None:
    factory.add_many(3)
    for token in (None, "", "wrong", generated_token(settings)[:-1]):
        status, headers, document = get(address, STATS, token)
        assert status == 401
        assert headers["www-authenticate"] == "Bearer"
        assert "recordings" not in json.dumps(document)
    status, _, document = get(address, STATS, generated_token(settings))
    assert status == 200
    with transaction(engine) as connection:
        expected = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
    assert list(document) == list(expected)
    assert document["recordings_pending"] == 3


def test_health_tells_the_database_and_the_daemon_without_a_token(address: str, engine: Engine) -> None:
    status, headers, document = get(address, "/health")
    assert (status, headers["retry-after"]) == (503, "10")
    assert document == {
        "status": "degraded",
        "database": "ok",
        "daemon": "silent",
        "planning": "on",
        "reasons": ["no daemon has ever planned"],
    }
    with transaction(engine) as connection:
        heartbeats.beat(connection, heartbeats.PLANNER)
    assert get(address, "/health")[2] == {"status": "ok", "database": "ok", "daemon": "ok", "planning": "on"}


def test_a_database_that_is_away_is_503_and_the_api_recovers_by_itself(
    address: str, settings: Settings, engine: Engine
) -> None:
    name, parked = engine.url.database, f"{engine.url.database}_parked"
    engine.dispose()
    server = open_engine(engine.url.set(database="postgres"))

    def rename(old: str | None, new: str | None) -> None:
        with autocommit(server) as connection:
            connection.execute(
                sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": old}
            )
            connection.execute(sa.text(f"ALTER DATABASE {old} RENAME TO {new}"))

    rename(name, parked)
    status, headers, document = get(address, STATS, generated_token(settings))
    assert status == 503
    assert headers["retry-after"] == "10"
    assert "does not exist" in document["detail"]
    status, _, document = get(address, "/health")
    assert status == 503
    assert document["reasons"] == ["wrong_database: `heimdall doctor` says more"]
    assert get(address, "/health/live")[0] == 200
    rename(parked, name)
    assert get(address, STATS, generated_token(settings))[0] == 200
    server.dispose()
