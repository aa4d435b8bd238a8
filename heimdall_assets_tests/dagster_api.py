"""Dagster over GraphQL, as its UI and scripts use it: for tests that drive the real webserver and daemon."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LOCATION = "heimdall_assets"
REPOSITORY = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
BACKFILL_ENDED = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
OPEN_STATUSES = ["QUEUED", "NOT_STARTED", "MANAGED", "STARTING", "STARTED", "CANCELING"]

PARTITIONS = """
query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { assetPartitionStatuses {
  ... on DefaultPartitionStatuses {
    materializedPartitions failedPartitions unmaterializedPartitions materializingPartitions } } } } }"""
RUNS = """
query ($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results {
  runId jobName status tags { key value } } } ... on PythonError { message } } }"""
BACKFILL = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = """
query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
  __typename ... on PartitionBackfill { status } ... on PythonError { message } } }"""
LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
SENSORS = """
query ($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
  ... on Sensor { id sensorState { id selectorId status ticks(limit: 1) { status skipReason } } } } }"""
STOP_SENSOR = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"
START_SENSOR = "mutation ($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
SCHEDULE = """
query ($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) {
  ... on Schedule { scheduleState { id status } } } }"""
STOP_SCHEDULE = "mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
MESSAGES = """
query ($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection { events {
  ... on MessageEvent { message } } } } } }"""
TERMINATE = """
mutation ($id: String!) { terminateRun(runId: $id) { __typename ... on TerminateRunFailure { message } } }"""
MATERIALIZATIONS = """
query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset { assetMaterializations(limit: 1) {
  metadataEntries { label __typename ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue }
  ... on TextMetadataEntry { text } } } } } }"""


@dataclass(frozen=True)
class DagsterAPI:
    """A webserver's GraphQL endpoint."""

    address: str

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        """The data of a query; an error is an assertion."""
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.address}/graphql", body, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:  # 500 for what failed inside: the body says what
            raise AssertionError(error.read().decode(errors="replace")) from error
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def is_up(self) -> bool:
        """True once the webserver answers and has loaded the code location."""
        try:
            return bool(self.sensor()["sensorState"]["status"])
        except (urllib.error.URLError, OSError, AssertionError, KeyError, TypeError):
            return False

    def partitions(self) -> dict[str, set[str]]:
        """Keys of measurement_features by colour: materialized, failed, unmaterialized, materializing."""
        node = self.query(PARTITIONS, key={"path": ["measurement_features"]})["assetNodeOrError"]
        statuses = node["assetPartitionStatuses"]
        return {name.removesuffix("Partitions"): set(keys) for name, keys in statuses.items()}

    def runs(self, **criteria: Any) -> list[dict[str, Any]]:
        """Runs that a filter finds, the newest first."""
        found: list[dict[str, Any]] = self.query(RUNS, filter=criteria)["runsOrError"]["results"]
        return found

    def open_runs(self) -> list[dict[str, Any]]:
        """Runs that have not ended."""
        return self.runs(statuses=OPEN_STATUSES)

    def launch_backfill(self, keys: Sequence[str], *, run_config: Mapping[str, Any] | None = None) -> str:
        """Launch a partition backfill of measurement_features as the UI does; returns its id."""
        params: dict[str, Any] = {
            "assetSelection": [{"path": ["measurement_features"]}],
            "partitionNames": list(keys),
            "allPartitions": False,
        }
        if run_config is not None:
            params["runConfigData"] = run_config
        launched = self.query(BACKFILL, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def await_backfill(self, identity: str, *, timeout_s: float = 150) -> str:
        """Wait for a backfill to end; returns its final status."""
        wait_for(lambda: self.backfill_status(identity) in BACKFILL_ENDED, "the backfill to end", timeout_s=timeout_s)
        return self.backfill_status(identity)

    def backfill_status(self, identity: str) -> str:
        """Status of a backfill; one of ``BACKFILL_ENDED`` once it has ended."""
        return str(self.query(BACKFILL_STATUS, id=identity)["partitionBackfillOrError"]["status"])

    def launch(self, job: str, *, tags: Mapping[str, str], run_config: Mapping[str, Any]) -> str:
        """Launch a run from the launchpad; returns its id."""
        params = {
            "selector": {**REPOSITORY, "pipelineName": job},
            "runConfigData": run_config,
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        launched = self.query(LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        """Stop a run as the UI does."""
        answer = self.query(TERMINATE, id=run_id)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def run(self, run_id: str) -> dict[str, Any]:
        """One run."""
        (found,) = self.runs(runIds=[run_id])
        return found

    def messages(self, run_id: str) -> list[str]:
        """What the log of a run says, the oldest first."""
        events = self.query(MESSAGES, id=run_id)["runOrError"]["eventConnection"]["events"]
        return [event["message"] for event in events]

    def sensor(self) -> dict[str, Any]:
        """State of the sensor."""
        selector = {**REPOSITORY, "sensorName": "unfeatured_sessions_sensor"}
        found: dict[str, Any] = self.query(SENSORS, selector=selector)["sensorOrError"]
        return found

    def stop_sensor(self) -> None:
        """Switch the sensor off, and wait for a tick that is under way."""
        self.query(STOP_SENSOR, id=self.sensor()["sensorState"]["id"])

        def is_still() -> bool:
            state = self.sensor()["sensorState"]
            return state["status"] == "STOPPED" and not any(tick["status"] == "STARTED" for tick in state["ticks"])

        wait_for(is_still, "the sensor to stop")

    def start_sensor(self) -> None:
        """Switch the sensor on."""
        self.query(START_SENSOR, s={**REPOSITORY, "sensorName": "unfeatured_sessions_sensor"})

    def stop_schedule(self) -> None:
        """Switch the schedule off, so that no tick of it falls into what a test looks at."""
        selector = {**REPOSITORY, "scheduleName": "batch_feature_extraction_schedule"}
        state = self.query(SCHEDULE, selector=selector)["scheduleOrError"]["scheduleState"]
        answer = self.query(STOP_SCHEDULE, id=state["id"])["stopRunningSchedule"]
        assert answer["__typename"] == "ScheduleStateResult", answer

    def latest_metadata(self, asset: str) -> dict[str, Any]:
        """Metadata of an asset's newest materialization."""
        found = self.query(MATERIALIZATIONS, key={"path": [asset]})["assetOrError"]["assetMaterializations"]
        entries = found[0]["metadataEntries"] if found else []
        return {
            entry["label"]: next((entry[k] for k in ("intValue", "floatValue", "text") if k in entry), None)
            for entry in entries
        }


def wait_for(condition: Callable[[], Any], what: str, *, timeout_s: float = 60.0, poll_s: float = 0.5) -> None:
    """Wait for a condition; fails saying what did not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(poll_s)
