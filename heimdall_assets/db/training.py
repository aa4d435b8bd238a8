"""The view training_samples: what its columns are, how many rows it has, and all of them, some at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

VIEW = "heimdall.training_samples"

_PAGE_END = """
    SELECT max(recording_session_id::text)::uuid FROM (
        SELECT mf.recording_session_id FROM heimdall.measurement_features mf
        WHERE NOT coalesce(mf.extraction_failed, false) AND mf.recording_session_id >= :first
        ORDER BY mf.recording_session_id LIMIT :sessions) page"""
_PAGE = f"""
    SELECT ts.* FROM {VIEW} ts
    WHERE ts.recording_session_id BETWEEN :first AND :last AND ts.feature_version = :version
    ORDER BY ts.recording_session_id, ts.station_name"""
_LAST_UUID = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class SampleColumn:
    """A column of the view, as the database describes it.

    Attributes
    ----------
    name : str
        As in the view; figures of features are named FEATURE_STATISTIC.
    sql_type : str
        PostgreSQL's name of its type.
    unit : str
        Empty for what has none.
    meaning : str
        For people.
    """

    name: str
    sql_type: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class SampleCount:
    """How much there is of a version; None: features by other code, which the view leaves out."""

    feature_version: int | None
    sessions: int
    samples: int
    stale_sessions: int


def sample_columns(connection: Connection) -> list[SampleColumn]:
    """The view's columns in their order; unit and meaning are its comments."""
    query = """
        SELECT a.attname::text AS name, format_type(a.atttypid, NULL) AS sql_type,
               coalesce(col_description(a.attrelid, a.attnum), '') AS comment
        FROM pg_attribute a
        WHERE a.attrelid = CAST(:view AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum"""
    return [
        SampleColumn(row.name, row.sql_type, *_unit_and_meaning(row.comment))
        for row in connection.execute(sa.text(query), {"view": VIEW})
    ]


def _unit_and_meaning(comment: str) -> tuple[str, str]:
    found = re.fullmatch(r"(?:\[(.*?)\] )?(.*)", comment, re.DOTALL)
    return ("", comment) if found is None else (found[1] or "", found[2])


def sample_counts(connection: Connection) -> list[SampleCount]:
    """Sessions and samples by version of the estimators, the newest first: from the ledger's sums, not by counting.

    A sample is a receiver with features there, so that this is what the view has as soon as the planner has looked;
    sessions that wait to be computed again are counted when that is done.
    """
    query = """
        SELECT feature_version, sum(sessions)::bigint AS sessions, sum(with_features)::bigint AS samples,
               coalesce(sum(sessions) FILTER (WHERE is_marked_stale), 0)::bigint AS stale_sessions
        FROM heimdall.feature_totals WHERE state IN ('done', 'partial')
        GROUP BY feature_version HAVING sum(sessions) <> 0 ORDER BY feature_version DESC NULLS LAST"""
    return [SampleCount(**row) for row in connection.execute(sa.text(query)).mappings()]


def take_snapshot(connection: Connection) -> None:
    """Let everything that is read in this transaction be of one moment; has to be its first statement."""
    connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


def samples(connection: Connection, *, feature_version: int, page_sessions: int) -> Iterator[Sequence[Any]]:
    """Every sample of one version, in the order of session and receiver, some sessions at a time.

    Pages, not one statement: for that PostgreSQL would sort everything on disk first.

    Parameters
    ----------
    connection : Connection
        In a transaction that began with :func:`take_snapshot`.
    feature_version : int
        Of the estimators.
    page_sessions : int
        Sessions that are looked at at once.

    Yields
    ------
    sequence of rows
        With the view's columns, never empty.
    """
    first = UUID(int=0)
    while True:
        last = connection.scalar(sa.text(_PAGE_END), {"first": first, "sessions": page_sessions})
        if last is None:
            return
        page = {"first": first, "last": last, "version": feature_version}
        if rows := connection.execute(sa.text(_PAGE), page).all():
            yield rows
        if last == _LAST_UUID:
            return
        first = UUID(int=last.int + 1)
