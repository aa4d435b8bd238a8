"""The real daemon, webserver, run queue and PostgreSQL, driven as operators drive them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from heimdall_assets_tests.conftest import drop_database, make_database, settings_for
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.factory import GOOD, MISSING, TRUNCATED
from heimdall_assets_tests.invariants import assert_ledger_agrees
from heimdall_assets_tests.system import running_system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from sqlalchemy.engine import URL

    from heimdall_assets_tests.system import System


pytestmark = pytest.mark.timeout(900)  # a busy machine is no defect


@pytest.fixture(scope="module")
def system(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One daemon and one webserver for this module's tests, which use sessions of their own."""
    folder = tmp_path_factory.mktemp("system")
    url = make_database(server_url)
    with running_system(settings_for(url, folder), folder, HEIMDALL_WORKERS="2") as system:
        yield system
    for name in (url.database, f"{url.database}_dagster"):
        drop_database(url.set(database=name))


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
    backfill = system.api.launch_backfill(keys)
    assert system.api.await_backfill(backfill) == "COMPLETED_FAILED"
    all_tags = [run["tags"] for run in system.api.runs(tags=[{"key": "dagster/backfill", "value": backfill}])]
    assert all_tags  # none of its runs takes the slot that is kept for fresh sessions
    assert all({"key": "heimdall/slot", "value": "shared"} in tags for tags in all_tags)
    assert system.stored() == before
    assert system.attempts(good) == {1}
    assert system.attempts(broken) == {2}  # a person asked for them: they were tried again
    assert set(map(str, broken)) <= system.api.partitions()["failed"]
    config = {"ops": {"measurement_features": {"config": {"recompute": True}}}}
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[0]}
    run_id = system.api.launch("extract_features", tags=tags, run_config=config)
    wait_for(lambda: run_id not in {run["runId"] for run in system.api.open_runs()}, "the run", timeout_s=150)
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
    system.register(keys)
    tags = {"dagster/asset_partition_range_start": str(keys[0]), "dagster/asset_partition_range_end": str(keys[-1])}
    run_id = system.api.launch("extract_features", tags=tags, run_config={})
    wait_for(lambda: run_id not in {run["runId"] for run in system.api.open_runs()}, "the run", timeout_s=300)
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
        timeout_s=300,
    )
    wait_for(lambda: not system.api.open_runs(), "all runs to end", timeout_s=150)
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
