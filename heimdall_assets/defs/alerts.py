"""The sensor of alerts: a webhook is told of each problem once, and once when it is over.

Problems are checks that fail, checks that are not evaluated any more, and jobs whose last run failed. A batch that
failed since some of its sessions did is none: the sessions are red, are tried again, and count in the checks.

What was told is in the sensor's cursor. It is written after the webhook has answered, so that a message may come twice
after a crash, and is never lost.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRecord,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG

from heimdall_assets.defs.checks import CHECKS
from heimdall_assets.defs.jobs import extract_features, extract_sessions
from heimdall_assets.defs.logs import shown_in
from heimdall_assets.defs.retention import REPOSITORY_LABEL
from heimdall_assets.defs.webhook import Problem, Webhook
from heimdall_assets.errors import WebhookFailed
from heimdall_assets.settings import Settings, current_settings

logger = logging.getLogger(__name__)

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE)
BATCH_JOBS = (extract_features.name, extract_sessions.name, IMPLICIT_ASSET_JOB_NAME)

OVERLAP = timedelta(seconds=30)
"""A run's time stamp is older than the moment at which others see it: each look reaches this far back."""

MOST_RUNS = 500
"""Runs that one tick looks at; the next one goes on there."""

STALE_AFTER = timedelta(minutes=30)
"""Checks are evaluated every five minutes; for so long they may be missing."""

GAP = timedelta(minutes=5)
"""Where ticks were further apart than this the daemon was not running."""

MOST_TEXT = 500


@dataclass(frozen=True)
class Told:
    """A problem that the webhook was told of, and that is not over."""

    problem: Problem
    since: datetime


@dataclass(frozen=True)
class Memory:
    """What the sensor remembers between ticks, in its Dagster cursor.

    Attributes
    ----------
    runs_until : datetime
        Runs that ended before were looked at.
    runs_seen : tuple of str or None
        Those of the last moments that were, too; None: there was no look yet.
    up_since, looked_at : datetime
        Since when there are ticks, and the last one.
    told : mapping
        Problems by key.
    """

    runs_until: datetime
    up_since: datetime
    looked_at: datetime
    runs_seen: tuple[str, ...] | None = None
    told: Mapping[str, Told] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None, now: datetime) -> "Memory":
        """Read a cursor; one that is empty or cannot be read starts anew: what happened before is not told."""
        try:
            values = json.loads(text or "")
            moments = {name: datetime.fromisoformat(values[name]) for name in ("runs_until", "up_since", "looked_at")}
            told = {
                key: Told(Problem(**item["problem"]), datetime.fromisoformat(item["since"]))
                for key, item in values["told"].items()
            }
            seen = values["runs_seen"]
            memory = cls(**moments, runs_seen=None if seen is None else tuple(map(str, seen)), told=told)
            is_gap = now - memory.looked_at > GAP
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls(now, now, now)
        return replace(memory, looked_at=now, up_since=now if is_gap else memory.up_since)

    def text(self) -> str:
        """The cursor as Dagster stores it."""
        return json.dumps(asdict(self), default=lambda moment: moment.isoformat())

    def without(self, key: str) -> "Memory":
        """A problem is over."""
        return replace(self, told={other: told for other, told in self.told.items() if other != key})

    def having(self, problem: Problem, now: datetime) -> "Memory":
        """A problem was told."""
        return replace(self, told={**self.told, problem.key: Told(problem, now)})


@sensor(
    name="alerts_sensor",
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Tells the webhook of HEIMDALL_ALERT_WEBHOOK_URL of checks and runs that fail: once, and once when it "
    "is over.",
)
def alerts_sensor(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """One tick; it launches nothing."""
    settings = current_settings()
    if settings.alert_webhook_url is None:
        # forget: whoever sets it later wants no news of long ago
        return SensorResult(skip_reason=SkipReason("HEIMDALL_ALERT_WEBHOOK_URL is not set"), cursor="")
    webhook = Webhook(settings.alert_webhook_url.get_secret_value(), settings.alert_format)
    with shown_in(context.log):
        memory, said = tell_changes(context.instance, webhook, settings, context.cursor, now=datetime.now(UTC))
    return SensorResult(skip_reason=SkipReason(said), cursor=memory.text())


def tell_changes(
    instance: DagsterInstance, webhook: Webhook, settings: Settings, cursor: str | None, *, now: datetime
) -> tuple[Memory, str]:
    """Look for problems that are new or over, and tell the webhook of each.

    Parameters
    ----------
    instance : DagsterInstance
        Knows runs and evaluations of checks.
    webhook : Webhook
        Is told; what it does not accept is told at the next tick.
    settings : Settings
        Where Dagster's UI is.
    cursor : str or None
        What the last tick remembered.
    now : datetime
        The time.

    Returns
    -------
    tuple of (Memory, str)
        What to remember, and a sentence for the tick.
    """
    memory = Memory.parse(cursor, now)
    ended = _ended_runs(instance, memory)
    seen = [run.dagster_run.run_id for run in ended] if memory.runs_seen is None else memory.runs_seen
    new = [run for run in ended if run.dagster_run.run_id not in seen]
    changes = {**_checks(instance, settings, memory, now), **_runs(instance, settings, new)}
    told = 0
    try:
        for key, problem in changes.items():
            known = memory.told.get(key)
            if problem is not None and known is None:
                webhook.tell(problem, is_over=False, since=now)
                memory = memory.having(problem, now)
            elif problem is None and known is not None:
                webhook.tell(known.problem, is_over=True, since=known.since)
                memory = memory.without(key)
            else:
                continue
            told += 1
            logger.info("told the webhook of %s", key)
    except WebhookFailed as error:
        # The runs are looked at again, the checks are anyway.
        logger.warning("%s: it is told again at the next tick", error.message)
        return memory, f"{error.reason}: {error.message}"
    open_now = ", ".join(memory.told) or "none"
    return _having_seen(memory, ended), f"told the webhook of {told} changes; open problems: {open_now}"


def _checks(instance: DagsterInstance, settings: Settings, memory: Memory, now: datetime) -> dict[str, Problem | None]:
    """Every check that has been evaluated: its problem, or None where it passes."""
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key([check.key for check in CHECKS])
    changes: dict[str, Problem | None] = {}
    evaluated = []
    for check in CHECKS:
        record = records.get(check.key)
        event = record.event.dagster_event if record and record.event else None
        if record is None or event is None or event.event_type != DagsterEventType.ASSET_CHECK_EVALUATION:
            continue  # never evaluated, or being evaluated now
        evaluated.append(record.create_timestamp)
        data = event.event_specific_data
        asset = check.asset_key.to_user_string()
        failed = isinstance(data, AssetCheckEvaluation) and not data.passed
        changes[f"check:{check.name}"] = (
            Problem(
                key=f"check:{check.name}",
                severity="error" if check.severity == AssetCheckSeverity.ERROR else "warning",
                title=f"{check.name} fails",
                message=str(data.description or "")[:MOST_TEXT] if isinstance(data, AssetCheckEvaluation) else "",
                url=f"{_ui(settings)}/assets/{asset}?view=checks&checkDetail={check.name}",
            )
            if failed
            else None
        )
    if evaluated:
        newest = max(datetime.fromtimestamp(max(evaluated), UTC), memory.up_since)
        changes["checks:stale"] = _stale(settings, newest) if now - newest > STALE_AFTER else None
    return changes


def _stale(settings: Settings, newest: datetime) -> Problem:
    return Problem(
        key="checks:stale",
        severity="error",
        title="checks are not evaluated any more",
        message=f"the last time was {newest:%Y-%m-%d %H:%M} UTC: is batch_feature_extraction_schedule on, "
        "and does the database answer? Its ticks say so",
        url=f"{_ui(settings)}/automation",
    )


def _ended_runs(instance: DagsterInstance, memory: Memory) -> Sequence[RunRecord]:
    """Runs of this code location that ended since a little before the last look, in the order in which they did."""
    filters = RunsFilter(
        statuses=list(ENDED),
        updated_after=memory.runs_until - OVERLAP,
        tags={REPOSITORY_LABEL_TAG: REPOSITORY_LABEL},
    )
    return instance.get_run_records(filters, limit=MOST_RUNS, order_by="update_timestamp", ascending=True)


def _having_seen(memory: Memory, ended: Sequence[RunRecord]) -> Memory:
    moments = {run.dagster_run.run_id: run.update_timestamp.replace(tzinfo=UTC) for run in ended}
    until = max([memory.runs_until, *moments.values()])
    recent = tuple(run_id for run_id, moment in moments.items() if moment >= until - OVERLAP)
    return replace(memory, runs_until=until, runs_seen=recent)


def _runs(instance: DagsterInstance, settings: Settings, runs: Iterable[RunRecord]) -> dict[str, Problem | None]:
    """Every job of which runs ended: the problem of the last one, or None where that did what it could."""
    changes: dict[str, Problem | None] = {}
    for record in runs:
        run = record.dagster_run
        key = f"run:{run.job_name}"
        if run.status == DagsterRunStatus.SUCCESS or _only_sessions_failed(instance, run):
            changes[key] = None
        else:
            changes[key] = Problem(
                key=key,
                severity="error",
                title=f"a run of {run.job_name} failed",
                message=_why_failed(instance, run),
                url=f"{_ui(settings)}/runs/{quote(run.run_id, safe='')}",
            )
    return changes


def _only_sessions_failed(instance: DagsterInstance, run: DagsterRun) -> bool:
    """The run came to its end, and says which of its sessions failed: see ``walk.extract_and_report``."""
    if run.job_name not in BATCH_JOBS:
        return False
    events = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.STEP_FAILURE, limit=1).records
    event = events[0].event_log_entry.dagster_event if events else None
    return event is not None and event.step_failure_data.user_failure_data is not None


def _why_failed(instance: DagsterInstance, run: DagsterRun) -> str:
    events = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.RUN_FAILURE, limit=1).records
    event: Any = events[0].event_log_entry.dagster_event if events else None
    text = " ".join(str(event.message).split()) if event is not None and event.message else "it does not say why"
    return text[:MOST_TEXT]


def _ui(settings: Settings) -> str:
    return settings.dagster_ui_url.rstrip("/")
