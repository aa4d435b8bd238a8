"""Recording sessions: which measurements belong to one, and what the tables say about its features."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from heimdall_assets.db.columns import has_column
from heimdall_assets.db.truth import OTHER_TRUTH, differs_from_truth, is_near, true_source
from heimdall_assets.db.validity import (
    CORRECTED,
    RECEIVER_SETTINGS,
    STATION_PLACE,
    differs_from_settings,
    in_force,
    settings_of,
)
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
from heimdall_assets.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.engine import Connection

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
               m.iq_sample_rate, m.created_at, m.duration_seconds, m.websdr_station_id,
               st.id IS NOT NULL AS is_known,
               coalesce(st.name, m.websdr_station_id::text, 'unknown:' || m.id) AS name,
               st.latitude, st.longitude, st.altitude_asl""".strip()

VERSION = """
        CASE WHEN jsonb_typeof(mf.extraction_metadata -> 'feature_version') = 'number'
                  AND mf.extraction_metadata ->> 'feature_version' ~ '^[0-9]{1,9}$'
             THEN (mf.extraction_metadata ->> 'feature_version')::int END""".strip()
"""Of our rows the version of the estimators, of other code's NULL."""

HAS_FEATURES = "NOT coalesce(mf.extraction_failed, false)"

OTHER_INPUTS = "other_inputs"
"""The stale_reason of features that were computed from other measurements than belong to the session now."""

USABLE = "ARRAY(SELECT r ->> 'rx_id' FROM unnest(mf.receiver_features) r WHERE NOT r ? 'error')"
"""The receivers that have features in a row."""

USED = """
        ARRAY(SELECT coalesce(several.id, input.used ->> 'measurement_id')
              FROM jsonb_each(CASE WHEN jsonb_typeof(mf.extraction_metadata -> 'receivers') = 'object'
                                   THEN mf.extraction_metadata -> 'receivers' END) input (rx_id, used)
              LEFT JOIN LATERAL jsonb_array_elements_text(
                  CASE WHEN jsonb_typeof(input.used -> 'measurement_ids') = 'array'
                       THEN input.used -> 'measurement_ids' END) several (id) ON true
              WHERE EXISTS (SELECT 1 FROM unnest(mf.receiver_features) r
                            WHERE r ->> 'rx_id' = input.rx_id AND NOT r ? 'error'))""".strip()
"""The measurements whose samples are in a row, as far as it says so."""

_UNNAMED = """
        ARRAY(SELECT r ->> 'rx_id' FROM unnest(mf.receiver_features) r
              WHERE NOT r ? 'error'
                AND mf.extraction_metadata -> 'receivers' -> (r ->> 'rx_id') ->> 'measurement_id' IS NULL)""".strip()
"""The receivers that have features in a row that does not say of which measurement."""

_TOLD_BY_TABLES = f"('{OTHER_INPUTS}', '{RECEIVER_SETTINGS}', '{OTHER_TRUTH}')"
"""Reasons of stale features that are worked out anew; any other one is known to feature_states alone."""

_OF_VERSION = f"('{CORRECTED}', '{STATION_PLACE}')"
"""Such reasons that go with the features that they were said of."""


# What was deleted is no other input: recordings go some day, and features outlive them.
def _has_other_inputs(span: Span) -> str:
    return f"""
        l.has_other_receivers
        OR (cardinality(f.used) > cardinality(l.used)
            AND EXISTS (SELECT 1 FROM heimdall.measurements m
                        WHERE m.created_at BETWEEN {STARTS.format("s")} AND {ENDS.format("s")} AND {span.on("m")}
                          AND m.iq_data_location IS NOT NULL
                          AND m.id::text = ANY (f.used) AND m.id::text <> ALL (l.used)))""".strip()


def has_session_link(connection: Connection) -> bool:
    """True if measurements name their session; databases made before that column are linked by time alone."""
    return has_column(connection, "measurements", "recording_session_id")


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


def linked_measurements(
    connection: Connection, wanted: str, span: Span = EVER, *, source_tolerance_hz: float | None = None
) -> str:
    """SQL for the measurements with IQ data of the sessions in a CTE.

    Parameters
    ----------
    connection : Connection
        Asked whether measurements have a recording_session_id.
    wanted : str
        Name of a CTE with the columns of recording_sessions.
    span : Span
        Covers the measurements of these sessions; without it every piece of the table is looked at.
    source_tolerance_hz : float, optional
        Measurements within this of a source's frequency are on it; None: as HEIMDALL_SOURCE_TOLERANCE_HZ says.

    Returns
    -------
    str
        A SELECT of (session_id, columns of the measurement and of its station). A measurement belongs to the session
        that it names. The window counts only for a session that no measurement names, and there only measurements
        that name none and, where the session names a source with a frequency, are on it. Such a measurement belongs to
        the session in whose window it was created; of several, the one that started last, then the one with the
        smallest id. Where the network does not know a measurement's receiver, ``is_known`` is false, and ``name`` is
        the receiver's id, or ``unknown:`` and the measurement's.
    """
    tolerance_hz = current_settings().source_tolerance_hz if source_tolerance_hz is None else source_tolerance_hz
    by_window = _by_window(connection, wanted, span, tolerance_hz)
    if not has_session_link(connection):
        return by_window
    near = f'm."timestamp" BETWEEN s.first_at AND s.last_at AND {span.on("m")}'
    return f"{_by_link(windowed(wanted), near)} UNION ALL {by_window}"


def _by_link(sessions: str, near: str) -> str:
    return f"""
        {_MEASUREMENT}
        FROM {sessions} s
        JOIN heimdall.measurements m ON m.recording_session_id = s.id AND {near}
        LEFT JOIN heimdall.websdr_stations st ON st.id = m.websdr_station_id
        WHERE m.iq_data_location IS NOT NULL"""


def _by_window(connection: Connection, wanted: str, span: Span, tolerance_hz: float) -> str:
    has_link = has_session_link(connection)
    s_start, s_end, o_start, o_end = STARTS.format("s"), ENDS.format("s"), STARTS.format("o"), ENDS.format("o")

    # The server is kept from joining whole tables: (SELECT 1 ... LIMIT 1) IS NULL, not NOT EXISTS, and OFFSET 0 have
    # it look one session up after the other, by the index of its window, which it leaves alone where it is named.
    def is_open(session: str, bounds: str) -> str:
        named = f"n.recording_session_id = {session}.id AND {bounds}"
        return f"(SELECT 1 FROM heimdall.measurements n WHERE {named} LIMIT 1) IS NULL" if has_link else "true"

    def is_on_source(session: str) -> str:
        return f"""
          coalesce((SELECT coalesce({is_near("m.frequency_hz", "ks.frequency_hz", tolerance_hz)}, false)
                    FROM heimdall.known_sources ks
                    WHERE ks.id = {session}.known_source_id AND ks.frequency_hz IS NOT NULL), true)""".strip()

    near = f'n."timestamp" BETWEEN s.first_at AND s.last_at AND {span.on("n")}'
    return f"""
        {_MEASUREMENT}
        FROM {windowed(wanted)} s
        CROSS JOIN LATERAL (
            SELECT m.* FROM heimdall.measurements m
            WHERE m.created_at BETWEEN {s_start} AND {s_end}
              AND m."timestamp" BETWEEN s.first_at AND s.last_at AND {span.on("m")}
              AND m.iq_data_location IS NOT NULL {"AND num_nulls(m.recording_session_id) = 1" if has_link else ""}
              AND {is_open("s", near)}
            OFFSET 0) m
        LEFT JOIN heimdall.websdr_stations st ON st.id = m.websdr_station_id
        WHERE {is_on_source("s")}
          AND (SELECT 1 FROM heimdall.recording_sessions o
               WHERE {o_start} BETWEEN {s_start} AND m.created_at AND {o_end} >= m.created_at
                 AND ({o_start} > {s_start} OR o.id < s.id)
                 AND {is_open("o", span.on("n"))} AND {is_on_source("o")} LIMIT 1) IS NULL"""


def classified(connection: Connection, wanted: str, span: Span = EVER) -> str:
    """SQL for what the tables say about the sessions in a CTE, whatever feature_states says their state is.

    Parameters
    ----------
    connection, wanted, span
        As for :func:`linked_measurements`.

    Returns
    -------
    str
        A SELECT of (id, state, completed_at, measurements_total, measurements_with_features, measurements_used,
        feature_version, stale_reason, new_inputs, known_source_id, frequency_hz, receivers_gone), where state is
        pending, done, partial or empty. A row that other code wrote is done and has no version; one that it marked
        extraction_failed counts as none. Measurements are used whose samples are in the row: where it does not name
        them, one of each receiver. What only feature_states can know is taken from it: that there are other inputs than
        those that features of our code were computed from, and that a session without features is failed or
        quarantined. Features of our code are stale where inputs, settings of receivers or the ground truth are others
        than the row says; a mark for a reason that the tables do not tell stays. A session with a value that cannot be
        worked with is never empty: it is tried, and fails by the value's name.
    """
    linked = linked_measurements(connection, "(SELECT s.*)", span)
    source = true_source("s.known_source_id", "l.frequency_hz", current_settings().source_tolerance_hz)
    return f"""
        SELECT s.id, {_COMPLETED_AT} AS completed_at,
               l.total AS measurements_total,
               CASE WHEN f.usable IS NULL THEN 0 ELSE l.with_features END AS measurements_with_features,
               CASE WHEN f.usable IS NULL THEN 0
                    ELSE cardinality(l.used) + l.receivers_unnamed END AS measurements_used,
               f.version AS feature_version,
               CASE WHEN f.version IS NOT NULL
                    THEN CASE WHEN known.stale_reason NOT IN {_TOLD_BY_TABLES}
                                   AND (known.stale_reason NOT IN {_OF_VERSION} OR known.feature_version = f.version)
                              THEN known.stale_reason
                              WHEN {_has_other_inputs(span)} THEN '{OTHER_INPUTS}'
                              WHEN f.differs THEN '{RECEIVER_SETTINGS}'
                              WHEN {differs_from_truth("f", "t")} THEN '{OTHER_TRUTH}' END
               END AS stale_reason,
               CASE WHEN known.feature_version = f.version THEN known.new_inputs END AS new_inputs,
               s.known_source_id, l.frequency_hz, l.receivers_gone,
               CASE WHEN f.usable IS NULL AND l.total = 0 AND {_UNSOUND_SESSION.format("s")} IS NULL THEN 'empty'
                    WHEN f.usable IS NULL OR (known.feature_version = f.version AND known.new_inputs IS NOT NULL)
                    THEN CASE WHEN known.state IN ('failed', 'quarantined') THEN known.state ELSE 'pending' END
                    WHEN f.version IS NOT NULL AND f.has_errors THEN 'partial'
                    ELSE 'done' END AS state
        FROM {wanted} s
        LEFT JOIN heimdall.feature_states known ON known.recording_session_id = s.id
        LEFT JOIN LATERAL (
            SELECT {USABLE} AS usable,
                   ARRAY(SELECT r ->> 'rx_id' FROM unnest(mf.receiver_features) r WHERE r ? 'error') AS failed,
                   EXISTS (SELECT 1 FROM unnest(mf.receiver_features) r WHERE r ? 'error') AS has_errors,
                   {USED} AS used, {_UNNAMED} AS unnamed,
                   {VERSION} AS version, {differs_from_settings(STARTS.format("s"))} AS differs,
                   mf.tx_known, mf.tx_latitude, mf.tx_longitude, mf.tx_power_dbm,
                   mf.extraction_metadata ->> 'ground_truth' AS ground_truth
            FROM heimdall.measurement_features mf
            WHERE mf.recording_session_id = s.id AND {HAS_FEATURES}
        ) f ON true
        CROSS JOIN LATERAL (
            SELECT count(*)::int AS total,
                   count(*) FILTER (WHERE m.name = ANY (f.usable) OR m.is_of_used)::int AS with_features,
                   CASE WHEN min(m.frequency_hz) = max(m.frequency_hz) THEN min(m.frequency_hz) END AS frequency_hz,
                   coalesce(array_agg(m.id::text) FILTER (WHERE m.is_used), '{{}}') AS used,
                   count(DISTINCT m.name) FILTER (WHERE m.name = ANY (f.unnamed))::int AS receivers_unnamed,
                   array_agg(DISTINCT m.websdr_station_id) FILTER (WHERE NOT m.is_known) AS receivers_gone,
                   coalesce(bool_or(CASE WHEN m.is_known THEN m.websdr_station_id::text = ANY (f.failed)
                                         ELSE NOT m.is_of_used AND m.name <> ALL (f.failed) END), false)
                       AS has_other_receivers
            FROM (SELECT m.id, m.name, nullif(m.frequency_hz, 0) AS frequency_hz, m.is_known, m.websdr_station_id,
                         coalesce(m.id::text = ANY (f.used), false) AS is_used,
                         coalesce(bool_or(m.id::text = ANY (f.used)) OVER (PARTITION BY m.name), false) AS is_of_used
                  FROM ({linked}) m) m
        ) l
        LEFT JOIN LATERAL ({source}) t ON f.version IS NOT NULL"""


def missing_sessions(connection: Connection, session_ids: Collection[UUID]) -> list[UUID]:
    """Those of the ids that no completed session has, in their order."""
    if not session_ids:
        return []
    query = sa.text("SELECT id FROM heimdall.recording_sessions WHERE id = ANY (:ids) AND status = 'completed'")
    found = set(connection.scalars(query, {"ids": list(session_ids)}))
    return [key for key in session_ids if key not in found]


def load_session(connection: Connection, session_id: UUID, *, source_tolerance_hz: float) -> Session:
    """A session with its measurements that have IQ data, its receivers' settings at the time, and its ground truth.

    Parameters
    ----------
    connection : Connection
        Heimdall's database.
    session_id : UUID
        The session.
    source_tolerance_hz : float
        See :func:`linked_measurements` and :func:`~heimdall_assets.db.truth.true_source`.

    Raises
    ------
    UnknownSession
        There is no such session.
    """
    span = span_of(connection, [session_id])
    if not span.ranges:
        raise UnknownSession(f"there is no recording session {session_id}")
    rows = _rows_of(connection, session_id, span, source_tolerance_hz)
    row = rows[0]
    bad_value = row.bad_value or unreadable(row, "recording_sessions", ("session_name",))
    if row.known_source_id is not None:
        bad_value = bad_value or _bad_source(connection, row.known_source_id)
    session = Session(
        id=session_id,
        name=row.session_name,
        status=row.status,
        started_at=row.started_at,
        measurements=tuple(_measurement(each) for each in rows if each.measurement_id is not None),
        known_source_id=row.known_source_id,
        bad_value=bad_value,
    )
    query = true_source("CAST(:named AS uuid)", "CAST(:frequency_hz AS bigint)", source_tolerance_hz)
    parameters = {"named": session.known_source_id, "frequency_hz": session.frequency_hz}
    source = connection.execute(_statement(query), parameters).one_or_none()
    if source is None:
        return session
    return replace(session, known_source=_known_source(source), ground_truth=source.ground_truth)


_statement = lru_cache(maxsize=16)(sa.text)
"""Of a text that is always the same for a database: looking for its parameters takes longer than comparing it."""


def _rows_of(connection: Connection, session_id: UUID, span: Span, tolerance_hz: float) -> Sequence[Any]:
    """The session, a row a measurement, each with its receiver's settings; one row where there is none.

    A statement with less in it is planned faster, which with many pieces is most of its time.
    """
    bound, parameters = span.bound("first", "last")
    rows: Sequence[Any] = ()
    if has_session_link(connection):
        query = _statement(_with_measurements(_by_link("wanted", bound.on("m"))))
        rows = connection.execute(query, {"id": session_id, **parameters}).all()
    if not rows or rows[0].measurement_id is None:
        query = _statement(_with_measurements(_by_window(connection, "wanted", bound, tolerance_hz)))
        rows = connection.execute(query, {"id": session_id, **parameters}).all()
    return rows


def _with_measurements(linked: str) -> str:
    return f"""
        WITH wanted AS MATERIALIZED (SELECT * FROM heimdall.recording_sessions WHERE id = :id)
        SELECT w.session_name, w.status, w.known_source_id, {_UNSOUND_SESSION.format("w")} AS bad_value,
               {sound_time("w.session_start", "w.created_at", "statement_timestamp()")} AS started_at,
               m.id AS measurement_id, m."timestamp", m.frequency_hz, m.iq_data_location, m.iq_data_format,
               m.iq_sample_rate, m.name, m.altitude_asl, m.websdr_station_id, m.is_known,
               CASE WHEN {is_sound("m.latitude", NUMBER)} THEN m.latitude END AS latitude,
               CASE WHEN {is_sound("m.longitude", NUMBER)} THEN m.longitude END AS longitude,
               coalesce({unsound("measurements", "m", MEASUREMENT_COLUMNS)},
                        {unsound("websdr_stations", "m", STATION_COLUMNS)}) AS bad_measurement,
               held.calibration_db, held.passband_low_hz, held.passband_high_hz,
               coalesce(held.remove_dc, false) AS remove_dc, held.response
        FROM wanted w
        LEFT JOIN ({linked}) m ON true
        LEFT JOIN LATERAL ({in_force("m.name", "m.websdr_station_id::text", STARTS.format("w"))}) held ON true
        ORDER BY m."timestamp", m.name, m.id"""


def _measurement(row: Any) -> Measurement:
    return Measurement(
        id=row.measurement_id,
        timestamp=row.timestamp,
        station=Station(
            row.name, row.latitude, row.longitude, row.altitude_asl, id=row.websdr_station_id, is_known=row.is_known
        ),
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


def _known_source(row: Any) -> KnownSource:
    return KnownSource(row.name, row.latitude, row.longitude, row.frequency_hz, row.power_dbm, row.source_type)
