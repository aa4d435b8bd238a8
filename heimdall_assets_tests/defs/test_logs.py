"""Logs of Dagster's processes as JSON: of a tick, of a run and of its sessions; in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from heimdall_assets_tests.factory import TRUNCATED

if TYPE_CHECKING:
    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

TICK_AND_RUN = """
from dagster import DagsterInstance, build_sensor_context
from heimdall_assets.definitions import defs
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.sensors import unfeatured_sessions_sensor
with DagsterInstance.get() as instance:
    with build_sensor_context(instance=instance, resources={"heimdall": Heimdall()}) as context:
        [request] = unfeatured_sessions_sensor(context).run_requests
    job = defs.resolve_job_def(request.job_name)
    job.execute_in_process(instance=instance, tags=request.tags, run_config=request.run_config, raise_on_error=False)
print(request.run_key)
"""


def test_every_line_of_a_tick_and_a_run_is_an_object_with_ids(dagster: Dagster, factory: SessionFactory) -> None:
    good, broken = factory.add(), factory.add([TRUNCATED], minutes=5)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TICK_AND_RUN],
        env={**os.environ, "HEIMDALL_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    batch = done.stdout.strip()
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"time", "level", "message", "logger"} <= set(line) for line in lines)

    [planned] = [line for line in lines if line["message"] == "planned 2 sessions in 1 batches"]
    assert planned["level"] == "INFO"
    [materialized] = [line for line in lines if line.get("event") == "ASSET_MATERIALIZATION"]
    assert (materialized["session_id"], materialized["batch"]) == (str(good), batch)
    [failed] = [line for line in lines if line.get("reason") == "truncated"]
    assert (failed["level"], failed["session_id"], failed["batch"]) == ("WARNING", str(broken), batch)
    # what the package itself says, in the thread of a session
    [measured] = [line for line in lines if line["logger"] == "heimdall_assets.extraction.compute"]
    assert measured["message"].startswith("measurement ")
    assert (measured["session_id"], measured["batch"]) == (str(broken), batch)
    assert measured["run_id"] == materialized["run_id"] == failed["run_id"]
    assert len({line["run_id"] for line in lines if "run_id" in line}) == 1
