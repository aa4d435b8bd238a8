"""Checks of PostgreSQL: reachable, at this code's revision, with a clock like ours, and with a planner at work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db import condition, heartbeats, migrate, pauses, stoppages
from heimdall_assets.db.connections import is_pooled
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.states import database_time
from heimdall_assets.db.urls import dagster_url, heimdall_url
from heimdall_assets.diagnosis.findings import FAILURE, OK, WARNING, Finding
from heimdall_assets.errors import DatabaseError, DatabaseUnavailable, UnfitServer, WrongDatabase
from heimdall_assets.release import installed_release

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine

    from heimdall_assets.settings import Settings

RESTART = "restart daemon, webserver and API where their code is older"
CLOCK_WARNING_S = 5.0
CLOCK_FAILURE_S = 300.0
"""Half of what discovery looks back by time stamps."""


def database_findings(settings: Settings) -> Iterator[Finding]:
    """Check Heimdall's database; what needs one that answers, or is upgraded, is left out where it is not."""
    try:
        engine = open_engine(heimdall_url(settings), pool_size=1)
    except DatabaseUnavailable as error:
        remedy = "start `heimdall up` or `heimdall db serve`, or set HEIMDALL_DATABASE_URL"
        yield Finding("database", FAILURE, error.message.partition(": start ")[0], remedy)
        return
    try:
        yield from _of_engine(engine)
    finally:
        engine.dispose()


def dagster_finding(settings: Settings) -> Finding:
    """Check that Dagster's database answers."""
    variable = "HEIMDALL_DAGSTER_DATABASE_URL"
    try:
        engine = open_engine(dagster_url(settings), pool_size=1)
    except DatabaseUnavailable:
        return Finding("dagster_database", FAILURE, "its server is not there either", "see database")
    try:
        with transaction(engine) as connection:
            connection.execute(sa.text("SELECT 1"))
    except UnfitServer as error:
        return Finding("dagster_database", FAILURE, error.problem, error.remedy)
    except WrongDatabase as error:
        remedy = f"`heimdall up` creates it where the role may; else let a DBA, or set {variable}"
        return Finding("dagster_database", FAILURE, f"{engine.url.database}: {error.message}", remedy)
    except DatabaseError as error:
        return Finding("dagster_database", FAILURE, error.message, f"see its server's log, and {variable}")
    finally:
        engine.dispose()
    return Finding("dagster_database", OK, f"{engine.url.database} answers")


def _of_engine(engine: Engine) -> Iterator[Finding]:
    try:
        with transaction(engine) as connection:
            version = connection.scalar(sa.text("SHOW server_version"))
            before = time.time()
            theirs = database_time(connection).timestamp()
            ours = (before + time.time()) / 2
            pooler = (
                ", through a pooler that keeps sessions" if is_pooled(connection.connection.driver_connection) else ""
            )
    except UnfitServer as error:
        yield Finding("database", FAILURE, error.problem, error.remedy)
        return
    except DatabaseError as error:
        remedy = "see that the server runs, and that HEIMDALL_DATABASE_URL names it, its database and a role that may"
        yield Finding("database", FAILURE, error.message, remedy)
        return
    yield Finding("database", OK, f"PostgreSQL {version} answers, database {engine.url.database}{pooler}")
    yield clock_finding(theirs - ours)
    try:
        migrate.require_current(engine)
    except WrongDatabase as error:
        message, _, what = error.message.partition(": ")
        yield Finding("migrations", FAILURE, message, what or "run `heimdall db upgrade`")
        return
    yield Finding("migrations", OK, f"revision {migrate.head_revision()}, as this version needs")
    try:
        with transaction(engine) as connection:
            yield pause_finding(connection)
            yield daemon_finding(connection)
            yield planning_finding(connection)
            yield rows_finding(connection)
            yield release_finding(connection)
    except DatabaseError as error:
        yield Finding("tables", FAILURE, error.message, "see `heimdall db grants`, which lists what a role needs")


def clock_finding(ahead_s: float) -> Finding:
    """Check how far the database's clock is ahead of this machine's."""
    message = f"the database's clock is {abs(ahead_s):.1f} s {'ahead' if ahead_s >= 0 else 'behind'}"
    if abs(ahead_s) < CLOCK_WARNING_S:
        return Finding("clock", OK, message)
    status = WARNING if abs(ahead_s) < CLOCK_FAILURE_S else FAILURE
    return Finding("clock", status, message, "let both machines take their time from NTP")


def pause_finding(connection: Connection) -> Finding:
    """Check the switch that holds planning."""
    held = pauses.current_pause(connection)
    if held is None:
        return Finding("pause", OK, "planning goes on")
    return Finding("pause", WARNING, held.in_words, "run `heimdall resume` when it may go on")


def daemon_finding(connection: Connection) -> Finding:
    """Check that a planner, sensor or schedule, was at work a moment ago."""
    silence_s = heartbeats.seconds_since(connection, heartbeats.PLANNER)
    process = heartbeats.process_of(connection, heartbeats.PLANNER)
    place = "" if process is None else f" on {process.host}, process {process.pid}"
    if silence_s is None:
        remedy = "start `heimdall up`, or `dagster-daemon run` with the same variables"
        return Finding("daemon", FAILURE, "no daemon has ever planned with this database", remedy)
    if silence_s < heartbeats.DAEMON_SILENCE_S:
        return Finding("daemon", OK, f"planned {silence_s:.0f} s ago{place}")
    remedy = "start it again, and see that the sensor is on: Dagster's UI, Automation"
    return Finding("daemon", FAILURE, f"silent for {silence_s:.0f} s; was{place or ' somewhere'}", remedy)


def planning_finding(connection: Connection) -> Finding:
    """Check that no error keeps sensor, schedule or reports from their work."""
    failing = stoppages.current(connection)
    if not failing:
        return Finding("planning", OK, "neither the sensor, nor the schedule, nor the reports fail")
    is_stopped = any(each.is_lasting and each.stops_planning for each in failing)
    remedy = "set right what it names; the ticks in Dagster's UI, Automation, say more, and the next one that succeeds"
    message = "; ".join(each.in_words for each in failing)
    return Finding("planning", FAILURE if is_stopped else WARNING, message, f"{remedy} ends it")


def rows_finding(connection: Connection) -> Finding:
    """Check that no session fails by a value in its own rows."""
    found = condition.bad_rows(connection)
    if found is None:
        return Finding("rows", OK, "no session fails for a value that cannot be worked with")
    return Finding("rows", WARNING, found.in_words, "`heimdall backfill --retry-failed --reason bad_row` afterwards")


def release_finding(connection: Connection) -> Finding:
    """Check that the planner runs the code that is installed here."""
    process, installed = heartbeats.process_of(connection, heartbeats.PLANNER), installed_release()
    if heartbeats.seconds_since(connection, heartbeats.PLANNER) is None:
        return Finding("code", OK, f"{installed} is installed; no daemon has run yet")
    if process is None:
        message = f"the daemon does not say what it runs: it is older than what is installed, {installed}"
        return Finding("code", WARNING, message, RESTART)
    if process.release == installed:
        return Finding("code", OK, f"the daemon runs what is installed, {installed}")
    since = f"{process.started_at:%Y-%m-%d %H:%M} UTC"
    message = f"the daemon on {process.host} runs {process.release} since {since}; installed here is {installed}"
    return Finding("code", WARNING, message, RESTART)
