"""What the asset's page costs with every session a partition, and with a window of them.

    python -m heimdall_assets_tests.benchmarks.window [--sessions 60000] [--window 5000] [--json]

A database of its own holds so many sessions, all with features and all shown as materialized. Dagster's real webserver
is then asked what the page of ``measurement_features`` asks: every partition key, and the status of each. The answers
are timed right after the set of keys has changed, when Dagster computes what it keeps of them anew (``changed_s``),
and once more (``again_s``). Then the window is applied as the job ``reconcile_partitions`` does it, and the same is
asked again. ``stats_equal`` and ``show_ok`` say whether the figures of ``heimdall stats`` are those from before, and
whether a retired session still shows its features.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from dagster import AssetMaterialization, DagsterEvent, DagsterEventType, DagsterInstance, EventLogEntry
from dagster._core.events import StepMaterializationData

from heimdall_assets import embedded
from heimdall_assets.cli.session import session_document
from heimdall_assets.db import coverage, discovery
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.defs.events import FEATURES_KEY
from heimdall_assets.defs.reconciliation import KEYS, reconcile
from heimdall_assets.embedded import dagster_environment
from heimdall_assets.processes import Processes
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.services import start_webserver
from heimdall_assets.settings import current_settings, load_settings
from heimdall_assets_tests.dagster_api import DagsterAPI, wait_for
from heimdall_assets_tests.system import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine

START = datetime(2025, 1, 1, tzinfo=UTC)
CHUNK = 5000

KEYS_OF_PAGE = """
query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionKeysByDimension { partitionKeys } } } }"""
STATUSES_OF_PAGE = """
query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionStats { numMaterialized numPartitions numFailed numMaterializing }
  assetPartitionStatuses { ... on DefaultPartitionStatuses {
    materializedPartitions failedPartitions unmaterializedPartitions materializingPartitions } } } } }"""

SESSIONS = """
    INSERT INTO heimdall.recording_sessions (id, session_start, duration_seconds, status, created_at, updated_at)
    VALUES (:id, :at, 1.0, 'completed', :at, :at)"""
FEATURES = """
    INSERT INTO heimdall.measurement_features
        (recording_session_id, timestamp, receiver_features, extraction_metadata, overall_confidence, mean_snr_db)
    VALUES (:id, :at, ARRAY['{"rx_id": "RX1", "rx_lat": 45, "rx_lon": 7}'::jsonb],
            jsonb_build_object('feature_version', CAST(:version AS int)), 0.9, 12.5)"""
SHOWN = """
    UPDATE heimdall.feature_states
    SET registered_at = clock_timestamp(), reported_at = clock_timestamp() WHERE state = 'done'"""


def fill(engine: Engine, instance: DagsterInstance, count: int) -> list[uuid.UUID]:
    """Sessions a minute apart with features of this version, each a materialized partition; the oldest first."""
    ids = [uuid.uuid4() for _ in range(count)]
    for start in range(0, count, CHUNK):
        rows = [
            {"id": key, "at": START + timedelta(minutes=start + i), "version": FEATURE_VERSION}
            for i, key in enumerate(ids[start : start + CHUNK])
        ]
        with transaction(engine) as connection:
            connection.execute(sa.text(SESSIONS), rows)
            connection.execute(sa.text(FEATURES), rows)
        keys = [str(row["id"]) for row in rows]
        instance.add_dynamic_partitions(KEYS, keys)
        materialize(instance, keys)
    with transaction(engine) as connection:
        discovery.discover(connection)
        connection.execute(sa.text(SHOWN))
    return ids


def materialize(instance: DagsterInstance, keys: Sequence[str]) -> None:
    """Report partitions as a run does, but in one statement: one by one takes ten milliseconds each."""
    entries = [
        EventLogEntry(  # type: ignore[no-untyped-call]  # its constructor is not annotated
            error_info=None,
            level=20,
            user_message="",
            run_id="",
            timestamp=time.time(),
            job_name="benchmark",
            dagster_event=DagsterEvent(
                DagsterEventType.ASSET_MATERIALIZATION.value,
                "benchmark",
                event_specific_data=StepMaterializationData(AssetMaterialization(FEATURES_KEY, partition=key)),
            ),
        )
        for key in keys
    ]
    instance.event_log_storage.store_event_batch(entries)


def ask(api: DagsterAPI, query: str) -> tuple[float, dict[str, Any]]:
    """Seconds that a query of the page took, and its answer."""
    started = time.perf_counter()
    node = api.query(query, key={"path": ["measurement_features"]})["assetNodeOrError"]
    return time.perf_counter() - started, node


def look(api: DagsterAPI) -> dict[str, Any]:
    """The page's questions twice; the first time the set of keys has just changed."""
    seconds = [(ask(api, KEYS_OF_PAGE)[0], ask(api, STATUSES_OF_PAGE)[0]) for _ in range(2)]
    stats = ask(api, STATUSES_OF_PAGE)[1]["partitionStats"]
    return {
        "partitions": stats["numPartitions"],
        "materialized": stats["numMaterialized"],
        **{
            f"{name}_{moment}_s": round(seconds[turn][index], 3)
            for turn, moment in enumerate(("changed", "again"))
            for index, name in enumerate(("keys", "statuses"))
        },
    }


def benchmark(folder: Path, sessions: int, window: int) -> dict[str, Any]:
    """Everything, in a home of its own."""
    settings = load_settings(home=folder, database_url=None, partition_window=window)
    with embedded.database(settings):
        environment = dagster_environment(settings)
        os.environ.update(environment)
        current_settings.cache_clear()
        engine = open_engine(heimdall_url(settings))
        port = free_port()
        with DagsterInstance.get() as instance, Processes(environment, folder / "logs") as processes:
            started = time.perf_counter()
            ids = fill(engine, instance, sessions)
            fill_s = time.perf_counter() - started
            start_webserver(processes, host="127.0.0.1", port=port)
            api = DagsterAPI(f"http://127.0.0.1:{port}")
            wait_for(api.is_up, "the webserver to load the definitions", timeout_s=90)
            before = look(api)
            figures = stats(engine)
            started = time.perf_counter()
            done = reconcile(instance, engine, settings)
            reconcile_s = time.perf_counter() - started
            after = look(api)
            with transaction(engine) as connection:
                oldest = session_document(connection, ids[0], settings.source_tolerance_hz)
            document = {
                "sessions": sessions,
                "window": window,
                "fill_s": round(fill_s, 1),
                "reconcile_s": round(reconcile_s, 1),
                "retired": done.retired,
                "ms_per_retired": round(1000 * reconcile_s / max(1, done.retired), 2),
                "before": before,
                "after": after,
                "stats_equal": stats(engine) == figures,
                "show_ok": oldest["state"] == "done" and oldest["features"]["mean_snr_db"] == 12.5,
            }
        engine.dispose()
    return document


def stats(engine: Engine) -> dict[str, Any]:
    """The figures of ``heimdall stats``."""
    with transaction(engine) as connection:
        return coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)


def main() -> None:
    """Run and print; exits 1 where a retired session is not what it was."""
    parser = argparse.ArgumentParser(description="The asset's page with all sessions, and with a window of them.")
    parser.add_argument("--sessions", type=int, default=60_000)
    parser.add_argument("--window", type=int, default=5000)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="window", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)  # the server runs as another user where we are root
        result = benchmark(Path(folder), arguments.sessions, arguments.window)
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        for name in ("before", "after"):
            page = result[name]
            sys.stdout.write(
                f"{name:6s} {page['partitions']:7d} partitions: keys {page['keys_changed_s']:.2f} s, statuses "
                f"{page['statuses_changed_s']:.2f} s after a change; {page['keys_again_s']:.2f} s and "
                f"{page['statuses_again_s']:.2f} s again\n"
            )
        sys.stdout.write(f"{result['retired']} retired in {result['reconcile_s']} s\n")
    sys.exit(0 if result["stats_equal"] and result["show_ok"] else 1)


if __name__ == "__main__":
    main()
