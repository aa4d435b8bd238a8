"""Asset checks: what should be so, by figures of PostgreSQL, each declared once.

They hang on the reports, not on ``measurement_features``, whose runs would each evaluate them again. The schedule
evaluates them every five minutes without a run, the sensor when work is done, and people in the UI when they like.
None blocks anything, and each looks at a bounded number of rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from typing import Any
from uuid import UUID

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    asset_check,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from sqlalchemy.engine import Connection

from heimdall_assets.db import network, partitions, quality, stoppages
from heimdall_assets.db.coverage import coverage_figures
from heimdall_assets.db.engine import transaction
from heimdall_assets.defs.events import FEATURES_KEY
from heimdall_assets.defs.partitions import recording_sessions_partitions
from heimdall_assets.defs.reports import COVERAGE_KEY, HEALTH_KEY, SAMPLES_KEY
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.dsp import FEATURES
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.settings import Settings

LATEST = 200
"""Sessions whose features are looked at."""

LATEST_KEYS = 500
"""Partitions that are compared with PostgreSQL."""

REPORT_GRACE = timedelta(minutes=15)
"""A session may have features for so long before Dagster shows it: it is told within a few idle ticks."""

PLANNING_GOES_ON = "planning_goes_on"

LEAST_HZ = 50.0
"""What a beacon may be off whatever its frequency; receivers on long waves know it to a fraction of a hertz only."""


@dataclass(frozen=True)
class Verdict:
    """Whether it is so, in a sentence, with figures."""

    passed: bool
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """What a check may look at."""

    connection: Connection
    instance: DagsterInstance
    settings: Settings


@dataclass(frozen=True)
class Check:
    """A check: of which asset, what it claims, how bad it is if that is not so, and who judges."""

    name: str
    asset_key: AssetKey
    claim: str
    severity: AssetCheckSeverity
    judge: Callable[[Scene], Verdict]

    @property
    def key(self) -> AssetCheckKey:
        """Its key in Dagster."""
        return AssetCheckKey(self.asset_key, self.name)


def _coverage_is_high(scene: Scene) -> Verdict:
    figures = {
        name: value or 0 for name, value in coverage_figures(scene.connection, feature_version=FEATURE_VERSION).items()
    }
    least = scene.settings.least_coverage_percent
    is_overdue = figures["oldest_pending_age_seconds"] > scene.settings.most_pending_seconds
    waiting = figures["recordings_pending"] + figures["recordings_running"] if is_overdue else 0
    done = figures["recordings_with_features"]
    ended = done + figures["recordings_failed"] + figures["recordings_quarantined"] + waiting
    if not ended:
        return Verdict(True, "no session has ended yet")
    percent = 100.0 * done / ended
    return Verdict(
        percent >= least,
        f"{done:,} of {ended:,} sessions that should have features have them: {percent:.2f} %, at least {least:g} %",
        {"coverage_percent": round(percent, 2), "least_coverage_percent": least},
    )


def _pending_is_young(scene: Scene) -> Verdict:
    figures = coverage_figures(scene.connection, feature_version=FEATURE_VERSION)
    age_s, most_s = figures["oldest_pending_age_seconds"], scene.settings.most_pending_seconds
    if age_s is None:
        return Verdict(True, "nothing waits")
    return Verdict(
        age_s <= most_s,
        f"{figures['recordings_pending']:,} sessions wait, the oldest since {age_s:,.0f} s, at most {most_s:g} s",
        {"oldest_pending_age_seconds": age_s, "most_pending_seconds": most_s},
    )


def _planning_goes_on(scene: Scene) -> Verdict:
    failing = stoppages.current(scene.connection)
    if not failing:
        return Verdict(True, "neither the sensor, nor the schedule, nor the reports fail")
    is_stopped = any(each.is_lasting and each.stops_planning for each in failing)
    return Verdict(not is_stopped, "; ".join(each.in_words for each in failing))


def _no_receiver_is_quiet(scene: Scene) -> Verdict:
    receivers = network.receiver_health(scene.connection, latest=network.SAMPLE_SESSIONS)
    quiet = [receiver for receiver in receivers if receiver.is_quiet]
    if not quiet:
        return Verdict(True, f"{len(receivers)} receivers, none of them quiet")
    named = ", ".join(
        f"{receiver.name} ({f'last {receiver.last_seen:%Y-%m-%d %H:%M}' if receiver.last_seen else 'never'}, "
        f"{receiver.missed} sessions missed)"
        for receiver in quiet
    )
    return Verdict(False, f"{len(quiet)} of {len(receivers)} receivers quiet: {named}", {"quiet": len(quiet)})


def _beacons_are_on_frequency(scene: Scene) -> Verdict:
    most_ppm = scene.settings.beacon_tolerance_ppm
    by_receiver: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    for found in quality.beacon_deviations(scene.connection, feature_version=FEATURE_VERSION, latest=LATEST):
        allowed_hz = max(LEAST_HZ, most_ppm * 1e-6 * found.frequency_hz)
        by_receiver.setdefault(found.receiver, []).append(1e6 * found.deviation_hz / found.frequency_hz)
        shares.setdefault(found.receiver, []).append(found.deviation_hz / allowed_hz)
    if not by_receiver:
        return Verdict(True, "no receiver heard a narrow transmission of known frequency")
    # the median: one interferer on the frequency is no fault of the receiver's clock
    off = sorted(name for name, values in shares.items() if abs(median(values)) > 1)
    deviations = {f"{name} (ppm)": round(median(values), 3) for name, values in by_receiver.items()}
    if not off:
        return Verdict(True, f"{len(by_receiver)} receivers within {most_ppm:g} ppm of known frequencies", deviations)
    named = ", ".join(f"{name} {median(by_receiver[name]):+.1f} ppm" for name in off)
    return Verdict(
        False, f"{len(off)} of {len(by_receiver)} receivers off by more than {most_ppm:g} ppm: {named}", deviations
    )


def _samples_are_whole(scene: Scene) -> Verdict:
    found = quality.flaws(
        scene.connection,
        features=[feature.name for feature in FEATURES],
        always_defined=[feature.name for feature in FEATURES if not feature.null_when],
        feature_version=FEATURE_VERSION,
        latest=LATEST,
    )
    looked_at = quality.num_latest(scene.connection, latest=LATEST)
    if not found:
        return Verdict(True, f"the latest {looked_at} sessions have every feature, a number or null where it may be")
    first = found[0]
    return Verdict(
        False,
        f"{first.figure} of {first.receiver} in session {first.session_id} is {first.found}"
        + (f", and {len(found) - 1} more" if len(found) > 1 else ""),
        {f"{flaw.session_id} {flaw.receiver} {flaw.figure}": flaw.found for flaw in found},
    )


def _partitions_agree(scene: Scene) -> Verdict:
    """By the ledger, whether Dagster was told; of the latest, whether it shows what it was told."""
    name = str(recording_sessions_partitions.name)
    overdue = partitions.overdue(scene.connection, grace=REPORT_GRACE, limit=LATEST_KEYS)
    newest = scene.instance.get_paginated_dynamic_partitions(name, limit=LATEST_KEYS, ascending=False).results
    strangers = [key for key in newest if not _is_session(key)]
    unwanted = partitions.unwanted(scene.connection, {UUID(key) for key in newest if _is_session(key)})
    told = [str(key) for key in partitions.latest_shown(scene.connection, grace=REPORT_GRACE, limit=LATEST_KEYS)]
    shown = scene.instance.event_log_storage.get_latest_storage_id_by_partition(
        FEATURES_KEY, DagsterEventType.ASSET_MATERIALIZATION, partitions=set(told)
    )
    missing = [key for key in told if key not in shown]
    counts = {
        "features that Dagster was not told of": len(overdue),
        "partitions of no completed session": len(unwanted) + len(strangers),
        "features that Dagster was told of and does not show": len(missing),
    }
    wrong = {words: count for words, count in counts.items() if count}
    examples = [*map(str, overdue[:1]), *map(str, list(unwanted)[:1]), *strangers[:1], *missing[:1]]
    if not wrong:
        return Verdict(True, f"{len(newest)} partitions and {len(told)} sessions compared: they agree", counts)
    said = "; ".join(f"{count} {words}" for words, count in wrong.items())
    return Verdict(False, f"{said}; for example {examples[0]}: `heimdall reconcile` sets it right", counts)


def _is_session(key: str) -> bool:
    try:
        UUID(key)
    except ValueError:
        return False
    return True


CHECKS = (
    Check(
        "coverage_is_high",
        COVERAGE_KEY,
        "Of the sessions that can be computed and had their time, at least HEIMDALL_LEAST_COVERAGE_PERCENT have "
        "features.",
        AssetCheckSeverity.ERROR,
        _coverage_is_high,
    ),
    Check(
        "pending_is_young",
        COVERAGE_KEY,
        "No session waits for longer than HEIMDALL_MOST_PENDING_SECONDS.",
        AssetCheckSeverity.ERROR,
        _pending_is_young,
    ),
    Check(
        PLANNING_GOES_ON,
        COVERAGE_KEY,
        f"No error has kept the sensor or the schedule from planning for more than {stoppages.LONGEST_S:.0f} s.",
        AssetCheckSeverity.ERROR,
        _planning_goes_on,
    ),
    Check(
        "partitions_agree",
        COVERAGE_KEY,
        f"Dagster shows what PostgreSQL holds: the latest {LATEST_KEYS} partitions and sessions are compared. The "
        "daily reconciliation, and `heimdall reconcile`, compare all.",
        AssetCheckSeverity.WARN,
        _partitions_agree,
    ),
    Check(
        "no_receiver_is_quiet",
        HEALTH_KEY,
        f"Every active receiver was heard of as late as its share of the latest {network.SAMPLE_SESSIONS:,} sessions "
        "lets expect.",
        AssetCheckSeverity.WARN,
        _no_receiver_is_quiet,
    ),
    Check(
        "beacons_are_on_frequency",
        HEALTH_KEY,
        f"In the latest {LATEST} sessions each receiver measured narrow transmissions of known frequency within "
        "HEIMDALL_BEACON_TOLERANCE_PPM of it, by its median.",
        AssetCheckSeverity.WARN,
        _beacons_are_on_frequency,
    ),
    Check(
        "samples_are_whole",
        SAMPLES_KEY,
        f"In the latest {LATEST} sessions every receiver has every feature, each a finite number, or null where its "
        "definition says when.",
        AssetCheckSeverity.ERROR,
        _samples_are_whole,
    ),
)


def evaluations(heimdall: Heimdall, instance: DagsterInstance) -> list[AssetCheckEvaluation]:
    """All checks as events, for sensor and schedule."""
    return _evaluations(CHECKS, heimdall, instance)


def report_stoppage(heimdall: Heimdall, instance: DagsterInstance) -> None:
    """Turn the check of planning red where it is stopped: the tick that failed reports nothing else."""
    [check] = [check for check in CHECKS if check.name == PLANNING_GOES_ON]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([check.key]).get(check.key)
    [evaluation] = _evaluations([check], heimdall, instance)
    if not evaluation.passed and (latest is None or latest.status != AssetCheckExecutionRecordStatus.FAILED):
        instance.report_runless_asset_event(evaluation)


def _evaluations(checks: Sequence[Check], heimdall: Heimdall, instance: DagsterInstance) -> list[AssetCheckEvaluation]:
    return [
        AssetCheckEvaluation(
            asset_key=check.asset_key,
            check_name=check.name,
            passed=verdict.passed,
            severity=check.severity,
            description=verdict.description,
            metadata=verdict.metadata,
            blocking=False,
        )
        for check, verdict in _judge(checks, heimdall, instance)
    ]


def _judge(checks: Sequence[Check], heimdall: Heimdall, instance: DagsterInstance) -> list[tuple[Check, Verdict]]:
    with heimdall.engine() as engine, transaction(engine) as connection:
        scene = Scene(connection, instance, heimdall.settings)
        return [(check, check.judge(scene)) for check in checks]


def _definition(check: Check) -> AssetChecksDefinition:
    @asset_check(asset=check.asset_key, name=check.name, description=check.claim, blocking=False)
    def evaluate(context: AssetCheckExecutionContext, heimdall: Heimdall) -> AssetCheckResult:
        ((_, verdict),) = _judge([check], heimdall, context.instance)
        return AssetCheckResult(
            passed=verdict.passed,
            severity=check.severity,
            description=verdict.description,
            metadata=dict(verdict.metadata),
        )

    return evaluate


asset_checks = [_definition(check) for check in CHECKS]
