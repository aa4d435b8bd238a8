"""The throughput benchmark: what it compares with does the pipeline's work, and what it counts is what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heimdall_assets.extraction import extract_session
from heimdall_assets_tests.benchmarks import backlog, bare
from heimdall_assets_tests.benchmarks.trickle import percentile

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory


def test_the_bare_pool_stores_the_row_that_the_pipeline_stores(
    environment: Path, factory: SessionFactory, settings: Settings
) -> None:
    sets = backlog.write_recordings(factory.root, 2)[:1]
    (bare_key,) = backlog.add_sessions(factory, sets, 1, status="in_progress")
    (pipeline_key,) = backlog.add_sessions(factory, sets, 1)
    bare._engine.cache_clear()
    bare.measure_and_insert(str(bare_key))
    bare._engine().dispose()
    bare._engine.cache_clear()
    assert extract_session(factory.engine, pipeline_key, settings).computed
    query = """
        SELECT receiver_features, overall_confidence, mean_snr_db FROM heimdall.measurement_features
        WHERE recording_session_id = :id"""
    (by_pool,), (by_pipeline,) = factory.rows(query, id=bare_key), factory.rows(query, id=pipeline_key)
    assert len(by_pool[0]) == 2
    assert by_pool == by_pipeline


def test_sessions_of_a_backlog_share_the_recordings_evenly(factory: SessionFactory) -> None:
    sets = [(f"set{number}-rx1.npy",) for number in range(3)]
    keys = backlog.add_sessions(factory, sets, 8)
    rows = factory.rows("SELECT iq_data_location, count(*) FROM heimdall.measurements GROUP BY 1 ORDER BY 1")
    assert [row[1] for row in rows] == [3, 3, 2]
    assert len(set(keys)) == 8


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    values = [float(number) for number in range(20, 0, -1)]
    assert percentile(values, 95) == 19.0
    assert percentile(values, 50) == 10.0
    assert percentile([3.0], 95) == 3.0
