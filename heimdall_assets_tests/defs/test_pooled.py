"""Dagster's storages on pooled connections: what they write is what stock ones write, and reads the same to both."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance
from dagster_postgres.event_log import PostgresEventLogStorage

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import dagster_url
from heimdall_assets.defs.pooled import PooledEventLogStorage, pooled_engine
from heimdall_assets.defs.storage import HeimdallStorage
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.factory import TRUNCATED
from heimdall_assets_tests.pooler import needs_pgbouncer, pooled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dagster import EventLogEntry
    from sqlalchemy.engine import URL

    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

FEATURES = AssetKey("measurement_features")


def address() -> str:
    return dagster_url(current_settings()).render_as_string(hide_password=False)


@pytest.fixture
def stock(dagster: Dagster, tmp_path: Path) -> Iterator[Dagster]:
    """An instance with dagster-postgres as it comes, on the same database."""
    home = tmp_path / "stock"
    home.mkdir()
    (home / "dagster.yaml").write_text(f'storage: {{postgres: {{postgres_url: "{address()}"}}}}')
    with DagsterInstance.from_config(str(home)) as instance:
        assert type(instance.event_log_storage) is PostgresEventLogStorage
        yield type(dagster)(instance)


def rows(query: str) -> list[tuple[Any, ...]]:
    engine = open_engine(dagster_url(current_settings()), pool_size=1)
    with transaction(engine) as connection:
        found = [tuple(row) for row in connection.execute(sa.text(query))]
    engine.dispose()
    return found


EVENTS = """
    SELECT dagster_event_type, step_key, asset_key, partition, count(*) FROM event_logs
    WHERE dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_MATERIALIZATION_PLANNED', 'STEP_FAILURE',
                                 'RUN_FAILURE', 'RUN_START')
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""


def test_a_run_leaves_the_events_that_it_leaves_on_stock_storage(
    dagster: Dagster, factory: SessionFactory, stock: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = factory.add_many(6)
    factory.replace_file(ids[2], TRUNCATED)
    keys = dagster.register(ids)
    dagster.run_range(keys)
    pooled_events, pooled_colours = rows(EVENTS), dagster.colours(keys)
    assert type(dagster.instance.event_log_storage) is PooledEventLogStorage
    with transaction(engine := open_engine(dagster_url(current_settings()), pool_size=1)) as connection:
        connection.execute(sa.text("TRUNCATE event_logs, asset_keys, asset_event_tags"))
    engine.dispose()
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    stock.run_range(keys)
    assert rows(EVENTS) == pooled_events
    assert stock.colours(keys) == pooled_colours == ["MATERIALIZED"] * 2 + ["FAILED"] + ["MATERIALIZED"] * 3


def test_what_is_written_in_batches_is_read_by_stock_storage(
    dagster: Dagster, factory: SessionFactory, stock: Dagster
) -> None:
    keys = dagster.register(factory.add_many(5))
    result = dagster.run_range(keys)
    log = stock.instance.event_log_storage
    assert log.get_materialized_partitions(FEATURES) == set(keys)
    records = log.fetch_materializations(AssetRecordsFilter(FEATURES), limit=10).records
    assert {record.partition_key for record in records} == set(keys)
    (asset,) = log.get_asset_records([FEATURES])
    newest = asset.asset_entry.last_materialization_record
    assert newest is not None
    assert newest.storage_id == max(record.storage_id for record in records)
    assert asset.asset_entry.last_run_id == result.run_id


def materializations(dagster: Dagster) -> list[EventLogEntry]:
    records = dagster.instance.fetch_materializations(FEATURES, limit=100).records
    return [record.event_log_entry for record in records]


def test_a_batch_is_stored_whole_or_not_at_all(
    dagster: Dagster, factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    dagster.run_range(dagster.register(factory.add_many(3)))
    log = PooledEventLogStorage(address(), should_autocreate_tables=False)
    events = materializations(dagster)
    count = "SELECT count(*) FROM event_logs"
    before = rows(count)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(log, "_store_asset_event", fail)
        with pytest.raises(ZeroDivisionError):
            log.store_event_batch(events)
    assert rows(count) == before
    log.store_event_batch(events)
    assert rows(count)[0][0] == before[0][0] + 3
    log.store_event_batch([])


OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def backends() -> set[int]:
    """The server's processes for connections to Dagster's database."""
    return {row[0] for row in rows(f"SELECT pid {OTHERS}")}


@pytest.fixture
def storage(dagster: Dagster) -> Iterator[HeimdallStorage]:
    """The storage that dagster.yaml names, made anew."""
    storage = HeimdallStorage.from_config_value(None, {})
    yield storage
    pooled_engine(address()).dispose()


def test_instances_of_a_process_share_a_few_connections_that_stay_open(storage: HeimdallStorage) -> None:
    storage.run_storage.get_runs()
    first = backends()
    for _ in range(5):
        other = HeimdallStorage.from_config_value(None, {})
        other.run_storage.get_runs()
        other.event_log_storage.all_asset_keys()
        other.schedule_storage.all_instigator_state()
    assert backends() == first
    assert 1 <= len(first) <= 2


def test_a_connection_that_the_server_closed_is_replaced(storage: HeimdallStorage) -> None:
    storage.run_storage.get_runs()
    closed = backends()
    rows(f"SELECT pg_terminate_backend(pid, 5000) {OTHERS}")
    assert storage.run_storage.get_runs() == []
    assert not backends() & closed


def test_a_forked_child_has_connections_of_its_own(storage: HeimdallStorage) -> None:
    ours = pooled_engine(address())
    assert pooled_engine(address()) is ours
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"other" if pooled_engine(address()) is not ours else b"same")
        os._exit(0)
    os.waitpid(child, 0)
    answer = os.read(reader, 10)
    os.close(reader)
    os.close(writer)
    assert answer == b"other"


@needs_pgbouncer
def test_a_run_goes_through_a_pooler_that_keeps_sessions(
    dagster: Dagster, factory: SessionFactory, database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = dagster.register(factory.add_many(3))
    theirs = dagster_url(current_settings())
    with pooled(database_url, "session") as url:
        monkeypatch.setenv("HEIMDALL_DATABASE_URL", url.render_as_string(hide_password=False))
        through = url.set(database=theirs.database).render_as_string(hide_password=False)
        monkeypatch.setenv("HEIMDALL_DAGSTER_DATABASE_URL", through)
        current_settings.cache_clear()
        with DagsterInstance.get() as instance:
            instance.optimize_for_webserver(statement_timeout=5000, pool_recycle=3600, max_overflow=5)
            pooler = type(dagster)(instance)
            assert pooler.run_range(keys).success
            assert pooler.colours(keys) == ["MATERIALIZED"] * 3
        pooled_engine(address()).dispose()
