"""Recording sessions: which measurements belong to one, and what the tables say about its features."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from heimdall_assets.db.tables import known_sources
from heimdall_assets.db.validity import RECEIVER_SETTINGS, differs_from_settings, in_force, settings_of
from heimdall_assets.db.values import (
    DURATION,
    MEASUREMENT_COLUMNS,
    NUMBER,
    SESSION_COLUMNS,
    SOURCE_COLUMNS,
    STATION_COLUMNS,
    TIME,
    is_sound,
    sound_time,
    unreadable,
    unsound,
)
from heimdall_assets.db.windows import EVER, Span, clamped, first_at, last_at
from heimdall_assets.errors import UnknownSession
from heimdall_assets.records import KnownSource, Measurement, Session, Station

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine

_link_by_engine: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()

STARTS = "coalesce({0}.session_start, {0}.created_at)"
"""A session's window opens at its start; CONTRACT: session_start, or created_at where that is null."""
ENDS = f"""
        CASE WHEN {is_sound(STARTS, TIME)} AND {is_sound("{0}.session_end", TIME)} IS NOT FALSE
             THEN coalesce({{0}}.session_end,
                           CASE WHEN {is_sound("{0}.duration_seconds", DURATION)}
                                THEN {STARTS} + {{0}}.duration_seconds * interval '1 second' END) END""".strip()
"""Where it closes; NULL, so that nothing lies inside, where a value cannot be worked with."""

_COMPLETED_AT = f"{sound_time('s.updated_at', 's.created_at', 's.session_start', 'statement_timestamp()')}"
"""When Heimdall touched a session last, as far as that can be worked with."""

_UNSOUND_SESSION = unsound("recording_sessions", "{0}", SESSION_COLUMNS)

_MEASUREMENT = """
        SELECT s.id AS session_id, m.id, m."timestamp", m.frequency_hz, m.iq_data_location, m.iq_data_format,
               m.iq_sample_rate, m.created_at, m.duration_seconds,
               st.name, st.latitude, st.longitude, st.altitude_asl""".strip()

VERSION = """
        CASE WHEN jsonb_typeof(mf.extraction_metadata -> 'feature_version') = 'number'
                  AND mf.extraction_metadata ->> 'feature_version' ~ '^[0-9]{1,9}$'
             THEN (mf.extraction_metadata ->> 'feature_version')::int END""".strip()
"""Of our rows the version of the estimators, of other code's NULL."""

HAS_FEATURES = "NOT coalesce(mf.extraction_failed, false)"


def has_session_link(connection: Connection) -> bool:
    """True if measurements name their session; databases made before that column are linked by time alone."""
    engine = connection.engine
    if engine not in _link_by_engine:
        query = sa.text(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'heimdall' "
            "AND table_name = 'measurements' AND column_name = 'recording_session_id'"
        )
        _link_by_engine[engine] = bool(connection.scalar(query))
    return _link_by_engine[engine]


FEW = 10_000
"""Sessions that a statement is given one by one, with the span of their measurements; more are looked at as a whole."""


def windowed(wanted: str) -> str:
    """SQL for the sessions in a CTE with ``first_at`` and ``last_at``, between which their measurements lie.

    OFFSET 0, here and below, keeps the planner from taking a query apart: the bounds are known before a piece of the
    table is looked at.
    """
    start, end = STARTS.format("s"), ENDS.format("s")
    return f"""(SELECT s.*, {first_at(start)} AS first_at, {last_at(start, end)} AS last_at
                FROM {wanted} s LEFT JOIN heimdall.feature_strays x ON x.recording_session_id = s.id OFFSET 0)"""


def span_of(connection: Connection, session_ids: Collection[UUID]) -> Span:
    """The span in which the measurements of some sessions lie."""
    if not session_ids:
        return Span(())
    these = "(SELECT * FROM heimdall.recording_sessions WHERE id = ANY (:ids))"
    query = f"SELECT {clamped('s.first_at')}, {clamped('s.last_at')} FROM {windowed(these)} s"
    rows = connection.execute(sa.text(query), {"ids": list(session_ids)})
    return Span.over((row[0], row[1]) for row in rows)


def few_of(connection: Connection, found: str, parameters: Mapping[str, Any]) -> list[UUID] | None:
    """The sessions that a SELECT of (id) finds, each once; None where they are more than a few."""
    ids = set(connection.scalars(sa.text(f"SELECT id FROM ({found}) found LIMIT {FEW + 1}"), parameters))
    return list(ids) if len(ids) <= FEW else None


def linked_measurements(connection: Connection, wanted: str, span: Span = EVER) -> str:
    """SQL for the measurements with IQ data of the sessions in a CTE.

    Parameters
    ----------
    connection : Connection
        Asked whether measurements have a recording_session_id.
    wanted : str
        Name of a CTE with the columns of recording_sessions.
    span : Span
        Covers the measurements of these sessions; without it every piece of the table is looked at.

    Returns
    -------
    str
        A SELECT of (session_id, columns of the measurement and of its station). A measurement belongs to the session
        that it names. The window counts only for a session that no measurement names: a measurement that names none
        belongs to the session in whose window it was created; of several, the one that started last, then the one with
        the smallest id.
    """
    by_window = _by_window(connection, wanted, span)
    if not has_session_link(connection):
        return by_window
    near = f'm."timestamp" BETWEEN s.first_at AND s.last_at AND {span.on("m")}'
    return f"{_by_link(windowed(wanted), near)} UNION ALL {by_window}"


def _by_link(sessions: str, near: str) -> str:
    return f"""
        {_MEASUREMENT}
        FROM {sessions} s
        JOIN heimdall.measurements m ON m.recording_session_id = s.id AND {near}
        JOIN heimdall.websdr_stations st ON st.id = m.websdr_station_id
        WHERE m.iq_data_location IS NOT NULL"""


def _by_window(connection: Connection, wanted: str, span: Span) -> str:
    has_link = has_session_link(connection)
    s_start, s_end, o_start, o_end = STARTS.format("s"), ENDS.format("s"), STARTS.format("o"), ENDS.format("o")
    is_named, other_is_named = "false", "false"
    if has_link:
        is_named = f"""EXISTS (
              SELECT 1 FROM heimdall.measurements n
              WHERE n.recording_session_id = s.id
                AND n."timestamp" BETWEEN s.first_at AND s.last_at AND {span.on("n")})"""
        other_is_named = f"""EXISTS (
                  SELECT 1 FROM heimdall.measurements n WHERE n.recording_session_id = o.id AND {span.on("n")})"""
    return f"""
        {_MEASUREMENT}
        FROM {windowed(wanted)} s
        CROSS JOIN LATERAL (
            SELECT m.* FROM heimdall.measurements m
            WHERE m.created_at BETWEEN {s_start} AND {s_end}
              AND m."timestamp" BETWEEN s.first_at AND s.last_at AND {span.on("m")}
              AND m.iq_data_location IS NOT NULL {"AND m.recording_session_id IS NULL" if has_link else ""}
            OFFSET 0) m
        JOIN heimdall.websdr_stations st ON st.id = m.websdr_station_id
        WHERE NOT {is_named}
          AND NOT EXISTS (
              SELECT 1 FROM heimdall.recording_sessions o
              WHERE {o_start} BETWEEN {s_start} AND m.created_at AND {o_end} >= m.created_at
                AND ({o_start} > {s_start} OR o.id < s.id)
                AND NOT {other_is_named})"""


def classified(connection: Connection, wanted: str, span: Span = EVER) -> str:
    """SQL for what the tables say about the sessions in a CTE, whatever feature_states says their state is.

    Parameters
    ----------
    connection, wanted, span
        As for :func:`linked_measurements`.

    Returns
    -------
    str
        A SELECT of (id, state, completed_at, measurements_total, measurements_with_features, feature_version,
        stale_reason, new_inputs), where state is pending, done, partial or empty. A row that other code wrote is done
        and has no version; one that it marked extraction_failed counts as none. What only feature_states can know is
        taken from it: that features of our code are stale (where that is forgotten, the settings of receivers tell it
        again), that there are other inputs than those that they were computed from, and that a session without
        features is failed or quarantined. A session with a value that cannot be worked with is never empty: it is
        tried, and fails by the value's name.
    """
    return f"""
        SELECT s.id, {_COMPLETED_AT} AS completed_at,
               l.total AS measurements_total,
               CASE WHEN f.usable IS NULL THEN 0 ELSE l.with_features END AS measurements_with_features,
               f.version AS feature_version,
               CASE WHEN f.version IS NOT NULL
                    THEN coalesce(known.stale_reason, CASE WHEN f.differs THEN '{RECEIVER_SETTINGS}' END)
               END AS stale_reason,
               CASE WHEN known.feature_version = f.version THEN known.new_inputs END AS new_inputs,
               CASE WHEN f.usable IS NULL AND l.total = 0 AND {_UNSOUND_SESSION.format("s")} IS NULL THEN 'empty'
                    WHEN f.usable IS NULL OR (known.feature_version = f.version AND known.new_inputs IS NOT NULL)
                    THEN CASE WHEN known.state IN ('failed', 'quarantined') THEN known.state ELSE 'pending' END
                    WHEN f.version IS NOT NULL AND f.has_errors THEN 'partial'
                    ELSE 'done' END AS state
        FROM {wanted} s
        LEFT JOIN heimdall.feature_states known ON known.recording_session_id = s.id
        LEFT JOIN LATERAL (
            SELECT ARRAY(SELECT r ->> 'rx_id' FROM unnest(mf.receiver_features) r WHERE NOT r ? 'error') AS usable,
                   EXISTS (SELECT 1 FROM unnest(mf.receiver_features) r WHERE r ? 'error') AS has_errors,
                   {VERSION} AS version, {differs_from_settings(STARTS.format("s"))} AS differs
            FROM heimdall.measurement_features mf
            WHERE mf.recording_session_id = s.id AND {HAS_FEATURES}
        ) f ON true
        CROSS JOIN LATERAL (
            SELECT count(*)::int AS total, count(*) FILTER (WHERE m.name = ANY (f.usable))::int AS with_features
            FROM ({linked_measurements(connection, "(SELECT s.*)", span)}) m
        ) l"""


def missing_sessions(connection: Connection, session_ids: Collection[UUID]) -> list[UUID]:
    """Those of the ids that no completed session has, in their order."""
    if not session_ids:
        return []
    query = sa.text("SELECT id FROM heimdall.recording_sessions WHERE id = ANY (:ids) AND status = 'completed'")
    found = set(connection.scalars(query, {"ids": list(session_ids)}))
    return [key for key in session_ids if key not in found]


# Numeric: the difference of two bigints may be none.
_DISTANCE = sa.func.abs(
    sa.cast(known_sources.c.frequency_hz, sa.Numeric) - sa.bindparam("frequency_hz", type_=sa.BigInteger)
)
_NEAREST_SOURCES = (
    sa.select(known_sources, _DISTANCE.label("distance_hz"))
    .where(sa.bindparam("tolerance_hz", type_=sa.Double) >= _DISTANCE)
    .order_by(_DISTANCE)
    .limit(2)
)


def load_session(connection: Connection, session_id: UUID, *, source_tolerance_hz: float) -> Session:
    """A session with its measurements that have IQ data, its receivers' settings at the time, and its ground truth.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    session_id : UUID
        The session.
    source_tolerance_hz : float
        Where the session names no known source, the one known source within this of the measurements' frequency is
        taken; never one of several that are equally near.

    Raises
    ------
    UnknownSession
        There is no such session.
    """
    span = span_of(connection, [session_id])
    if not span.ranges:
        raise UnknownSession(f"there is no recording session {session_id}")
    rows = _rows_of(connection, session_id, span)
    row = rows[0]
    measurements = [_measurement(each) for each in rows if each.measurement_id is not None]
    bad_value = row.bad_value or unreadable(row, "recording_sessions", ("session_name",))
    source, ground_truth = None, None
    if row.known_source_id is not None:
        bad_value = bad_value or _bad_source(connection, row.known_source_id)
        source = _source(connection, known_sources.c.id == row.known_source_id)
        ground_truth = "session" if source else None
    if source is None and measurements:
        frequencies = {m.frequency_hz for m in measurements if m.frequency_hz}
        if len(frequencies) == 1:
            source = _nearest_source(connection, frequencies.pop(), source_tolerance_hz)
            ground_truth = "frequency" if source else None
    return Session(
        id=session_id,
        name=row.session_name,
        status=row.status,
        started_at=row.started_at,
        measurements=tuple(measurements),
        known_source=source,
        ground_truth=ground_truth,
        bad_value=bad_value,
    )


_statement = lru_cache(maxsize=4)(sa.text)
"""Of a text that is always the same for a database: looking for its parameters takes longer than comparing it."""


def _rows_of(connection: Connection, session_id: UUID, span: Span) -> Sequence[Any]:
    """The session, a row a measurement, each with its receiver's settings; one row where there is none.

    A statement with less in it is planned faster, which with many pieces is most of its time.
    """
    bound, parameters = span.bound("first", "last")
    rows: Sequence[Any] = ()
    if has_session_link(connection):
        query = _statement(_with_measurements(_by_link("wanted", bound.on("m"))))
        rows = connection.execute(query, {"id": session_id, **parameters}).all()
    if not rows or rows[0].measurement_id is None:
        query = _statement(_with_measurements(_by_window(connection, "wanted", bound)))
        rows = connection.execute(query, {"id": session_id, **parameters}).all()
    return rows


def _with_measurements(linked: str) -> str:
    return f"""
        WITH wanted AS MATERIALIZED (SELECT * FROM heimdall.recording_sessions WHERE id = :id)
        SELECT w.session_name, w.status, w.known_source_id, {_UNSOUND_SESSION.format("w")} AS bad_value,
               {sound_time("w.session_start", "w.created_at", "statement_timestamp()")} AS started_at,
               m.id AS measurement_id, m."timestamp", m.frequency_hz, m.iq_data_location, m.iq_data_format,
               m.iq_sample_rate, m.name, m.altitude_asl,
               CASE WHEN {is_sound("m.latitude", NUMBER)} THEN m.latitude END AS latitude,
               CASE WHEN {is_sound("m.longitude", NUMBER)} THEN m.longitude END AS longitude,
               coalesce({unsound("measurements", "m", MEASUREMENT_COLUMNS)},
                        {unsound("websdr_stations", "m", STATION_COLUMNS)}) AS bad_measurement,
               held.calibration_db, held.passband_low_hz, held.passband_high_hz,
               coalesce(held.remove_dc, false) AS remove_dc, held.response
        FROM wanted w
        LEFT JOIN ({linked}) m ON true
        LEFT JOIN LATERAL ({in_force("m.name", STARTS.format("w"))}) held ON true
        ORDER BY m."timestamp", m.name, m.id"""


def _measurement(row: Any) -> Measurement:
    return Measurement(
        id=row.measurement_id,
        timestamp=row.timestamp,
        station=Station(row.name, row.latitude, row.longitude, row.altitude_asl),
        frequency_hz=row.frequency_hz,
        iq_data_location=row.iq_data_location,
        iq_data_format=row.iq_data_format,
        iq_sample_rate_hz=row.iq_sample_rate,
        settings=settings_of(row),
        bad_value=row.bad_measurement
        or unreadable(row, "measurements", ("iq_data_location", "iq_data_format"))
        or unreadable(row, "websdr_stations", ("name",)),
    )


_BAD_SOURCE = sa.text(f"""
    SELECT {unsound("known_sources", "ks", SOURCE_COLUMNS)} AS bad_value, ks.name
    FROM heimdall.known_sources ks WHERE ks.id = :id""")


def _bad_source(connection: Connection, source_id: UUID) -> str | None:
    """The value of a named source that cannot be worked with, if there is one."""
    row = connection.execute(_BAD_SOURCE, {"id": source_id}).one_or_none()
    return None if row is None else row.bad_value or unreadable(row, "known_sources", ("name",))


def _source(connection: Connection, condition: sa.ColumnElement[bool]) -> KnownSource | None:
    row = connection.execute(sa.select(known_sources).where(condition)).one_or_none()
    return None if row is None else _known_source(row)


def _nearest_source(connection: Connection, frequency_hz: int, tolerance_hz: float) -> KnownSource | None:
    near = {"frequency_hz": frequency_hz, "tolerance_hz": tolerance_hz}
    rows: Sequence[Any] = connection.execute(_NEAREST_SOURCES, near).all()
    if not rows or (len(rows) == 2 and rows[0].distance_hz == rows[1].distance_hz):
        return None
    return _known_source(rows[0])


def _known_source(row: Any) -> KnownSource | None:
    if row.latitude is None or row.longitude is None:
        return None
    if not all(math.isfinite(value) for value in (row.latitude, row.longitude, row.power_dbm or 0.0)):
        return None
    return KnownSource(row.name, row.latitude, row.longitude, row.frequency_hz, row.power_dbm, row.source_type)
