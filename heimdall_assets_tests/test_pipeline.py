"""The real daemon, webserver, run queue and PostgreSQL, driven as operators drive them."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from heimdall_assets.db import coverage, states, tables
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.defs.partitions import recording_sessions_partitions
from heimdall_assets.embedded import dagster_environment
from heimdall_assets.processes import Processes, start_daemon, start_webserver
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.conftest import drop_database, make_database, settings_for
from heimdall_assets_tests.dagster_api import DagsterAPI, wait_for
from heimdall_assets_tests.factory import GOOD, MISSING, TRUNCATED, SessionFactory
from heimdall_assets_tests.invariants import assert_ledger_agrees

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from sqlalchemy.engine import URL

    from heimdall_assets.settings import Settings


@dataclass(frozen=True)
class System:
    """Everything running on a database of its own."""

    factory: SessionFactory
    settings: Settings
    api: DagsterAPI

    def figures(self) -> dict[str, int | float | None]:
        """The figures of ``stats``."""
        with transaction(self.factory.engine) as connection:
            return coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)

    def drain(self, timeout_s: float = 120.0) -> None:
        """Wait until nothing is pending or running and all runs have ended."""

        def is_done() -> bool:
            figures = self.figures()
            return not figures["recordings_pending"] and not figures["recordings_running"]

        wait_for(is_done, "all sessions to be worked on", timeout_s=timeout_s)
        wait_for(lambda: not self.api.open_runs(), "all runs to end")

    def stored(self) -> dict[UUID, int]:
        """How often features of each session were stored."""
        rows = self.factory.rows(
            "SELECT recording_session_id, count(*) FROM heimdall.feature_attempts "
            "WHERE outcome IN ('done', 'partial') GROUP BY 1"
        )
        return {key: count for key, count in rows}  # noqa: C416  # two columns

    def attempts(self, session_ids: list[UUID]) -> set[int]:
        """How many attempts the sessions had; one number if all had the same."""
        rows = self.factory.rows(
            "SELECT count(*) FROM heimdall.feature_attempts WHERE recording_session_id = ANY (:ids) "
            "GROUP BY recording_session_id",
            ids=session_ids,
        )
        return {row[0] for row in rows}


@pytest.fixture(scope="module")
def system(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One daemon and one webserver for this module's tests, which use sessions of their own."""
    folder = tmp_path_factory.mktemp("system")
    url = make_database(server_url)
    # Retries come when a test makes them due.
    settings = settings_for(url, folder).model_copy(update={"retry_base_seconds": 900.0, "retry_max_seconds": 900.0})
    engine = open_engine(heimdall_url(settings), pool_size=4)
    environment = dagster_environment(settings)
    environment.update(HEIMDALL_RETRY_BASE_SECONDS="900", HEIMDALL_WORKERS="2")
    port = free_port()
    with Processes(environment, folder / "logs") as processes:
        start_webserver(processes, host="127.0.0.1", port=port)
        start_daemon(processes)
        api = DagsterAPI(f"http://127.0.0.1:{port}")
        wait_for(api.is_up, "the webserver to load the definitions", timeout_s=90)
        yield System(SessionFactory(engine, settings), settings, api)
    engine.dispose()
    for name in (url.database, f"{url.database}_dagster"):
        drop_database(url.set(database=name))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_120_sessions_at_once_take_at_most_4_runs_and_exactly_the_broken_ones_are_red(system: System) -> None:
    good = system.factory.add_many(60) + system.factory.add_many(55, minutes=70)
    broken = [system.factory.add((TRUNCATED,) * 3, minutes=minutes) for minutes in (5.5, 20.5, 61, 90.5, 110.5)]
    system.drain()
    assert len(system.api.runs(pipelineName="extract_features")) <= 4
    assert system.stored() == dict.fromkeys(good, 1)
    colours = system.api.partitions()
    assert colours["failed"] == set(map(str, broken))
    assert colours["materialized"] == set(map(str, good))
    assert colours["unmaterialized"] == colours["failed"]  # Dagster counts them there as well
    assert not colours["materializing"]
    figures = system.figures()
    assert figures["recordings_quarantined"] == 5
    assert figures["coverage_percent"] == 95.83
    wait_for(
        lambda: system.api.latest_metadata("feature_coverage").get("coverage_percent") == 95.83,
        "the coverage asset to show the same",
    )
    assert system.api.latest_metadata("feature_coverage")["recordings_with_features"] == 115


def test_a_backfill_over_graphql_ends_and_computes_nothing_twice_unless_asked_to(system: System) -> None:
    system.factory.write_files()
    good = system.factory.add_many(20, minutes=1000)
    broken = system.factory.add_many(2, (TRUNCATED,), minutes=1010.5)
    system.drain()
    keys = [str(key) for key in (*good, *broken)]
    before = system.stored()
    assert system.api.backfill(keys) == "COMPLETED_FAILED"
    assert system.stored() == before
    assert system.attempts(good) == {1}
    assert system.attempts(broken) == {2}  # a person asked for them: they were tried again
    assert set(map(str, broken)) <= system.api.partitions()["failed"]
    config = {"ops": {"measurement_features": {"config": {"recompute": True}}}}
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[0]}
    run_id = system.api.launch("extract_features", tags=tags, run_config=config)
    wait_for(lambda: run_id not in {run["runId"] for run in system.api.open_runs()}, "the run")
    after = system.stored()
    assert [after[key] for key in good] == [2, *[1] * 19]
    history = system.factory.rows("SELECT recording_session_id FROM heimdall.measurement_features_history")
    assert {key for (key,) in history} >= {good[0]}


def test_500_scattered_failures_drain_in_at_most_12_runs_and_turn_green_or_stay_red(system: System) -> None:
    """Alternating good and failed keys in one range: retrying the failed ones as ranges would take 500 runs."""
    system.api.stop_sensor()
    wait_for(lambda: not system.api.open_runs(), "all runs to end")
    ids: list[UUID] = []
    for index in range(2):
        ids += system.factory.add_many(500, (GOOD if index else MISSING,), minutes=2000 + 0.5 * index)
    keys = [key for pair in zip(ids[:500], ids[500:], strict=True) for key in pair]
    _register(system, keys)
    tags = {"dagster/asset_partition_range_start": str(keys[0]), "dagster/asset_partition_range_end": str(keys[-1])}
    run_id = system.api.launch("extract_features", tags=tags, run_config={})
    wait_for(lambda: run_id not in {run["runId"] for run in system.api.open_runs()}, "the run", timeout_s=150)
    failed = set(map(str, ids[:500]))
    assert system.api.partitions()["failed"] >= failed
    assert {system.factory.state(key) for key in ids[:20]} == {"failed"}

    known_runs = {run["runId"] for run in system.api.runs()}
    shutil.copyfile(system.factory.root / GOOD, system.factory.root / MISSING)
    again = ids[:10]  # these fail a second time
    for key in again:
        system.factory.replace_file(key, "still-missing.npy")
    system.factory.rows("UPDATE heimdall.feature_states SET next_attempt_at = now() WHERE state = 'failed' RETURNING 1")
    system.api.start_sensor()
    wait_for(
        lambda: (
            not system.factory.scalar(
                "SELECT count(*) FROM heimdall.feature_states WHERE state = 'running' OR reserved_by IS NOT NULL "
                "OR (state = 'failed' AND next_attempt_at < now())"
            )
        ),
        "the retries",
        timeout_s=150,
    )
    wait_for(lambda: not system.api.open_runs(), "all runs to end")
    new_runs = [run for run in system.api.runs() if run["runId"] not in known_runs]
    assert {run["jobName"] for run in new_runs} == {"extract_sessions"}
    assert len(new_runs) <= 12
    colours = system.api.partitions()
    assert colours["failed"] & failed == set(map(str, again))
    assert failed - set(map(str, again)) <= colours["materialized"]
    assert system.attempts(ids[10:500]) == {2}


def test_in_the_end_the_ledger_says_what_the_tables_say(system: System) -> None:
    system.drain()
    assert_ledger_agrees(system.factory.engine)


def _register(system: System, keys: list[UUID]) -> None:
    """Give keys to Dagster in this order, as the planner does, without planning them."""
    name = recording_sessions_partitions.name
    engine = open_engine(heimdall_url(system.settings).set(database=f"{system.factory.engine.url.database}_dagster"))
    with transaction(engine) as connection:
        connection.execute(
            sa.text("INSERT INTO dynamic_partitions (partitions_def_name, partition) VALUES (:name, :key)"),
            [{"name": name, "key": str(key)} for key in keys],
        )
    engine.dispose()
    with transaction(system.factory.engine) as connection:
        states.discover(connection)
        connection.execute(
            sa.update(tables.feature_states)
            .where(tables.feature_states.c.recording_session_id.in_(keys))
            .values(registered_at=sa.func.now())
        )
