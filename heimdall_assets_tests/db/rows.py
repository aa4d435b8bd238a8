"""Single rows as Heimdall's other services, or other extractors, write them; for tests of statements."""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection, Engine


def add_session(connection: Connection, *, status: str = "completed", **columns: Any) -> uuid.UUID:
    """A recording session; its columns are NULL or default unless given."""
    statement = insert(tables.recording_sessions).values(status=status, **columns)
    key: uuid.UUID = connection.execute(statement.returning(tables.recording_sessions.c.id)).scalar_one()
    return key


def add_station(connection: Connection, name: str) -> uuid.UUID:
    """A receiver; the one of this name if it is there."""
    table = tables.websdr_stations
    found: uuid.UUID | None = connection.scalar(sa.select(table.c.id).where(table.c.name == name))
    if found is not None:
        return found
    statement = insert(table).values(name=name, latitude=45.0, longitude=8.0).returning(table.c.id)
    key: uuid.UUID = connection.execute(statement).scalar_one()
    return key


def add_measurement(
    connection: Connection,
    created_at: datetime,
    *,
    station: str = "RX1",
    location: str | None = "a.npy",
    **columns: Any,
) -> uuid.UUID:
    """A measurement; with recording_session_id only where that is given, since old databases lack the column."""
    key = uuid.uuid4()
    statement = insert(tables.measurements).values(
        timestamp=created_at,
        id=key,
        websdr_station_id=add_station(connection, station),
        iq_data_location=location,
        created_at=created_at,
        **columns,
    )
    connection.execute(statement)
    return key


def add_features(
    connection: Connection,
    session_id: uuid.UUID,
    receivers: Sequence[Mapping[str, Any]] = ({"rx_id": "RX1"},),
    *,
    metadata: Mapping[str, Any] | None = None,
    failed: bool | None = False,
) -> None:
    """A row of measurement_features as code that is not ours writes it."""
    query = """
        INSERT INTO heimdall.measurement_features
            (recording_session_id, timestamp, receiver_features, extraction_metadata, overall_confidence,
             extraction_failed)
        VALUES (:id, now(), CAST(:receivers AS jsonb[]), CAST(:metadata AS jsonb), 0.5, :failed)"""
    parameters = {
        "id": session_id,
        "receivers": [json.dumps(receiver) for receiver in receivers],
        "metadata": json.dumps(metadata or {}),
        "failed": failed,
    }
    connection.execute(sa.text(query), parameters)


def drop_session_link(connection: Connection) -> None:
    """Make the database one from before measurements named their session."""
    connection.execute(sa.text("ALTER TABLE heimdall.measurements DROP COLUMN recording_session_id"))


def loosen_stations(connection: Connection) -> None:
    """Let measurements be of receivers that are not there, or of none."""
    for change in ("ALTER websdr_station_id DROP NOT NULL", "DROP CONSTRAINT measurements_websdr_station_id_fkey"):
        connection.execute(sa.text(f"ALTER TABLE heimdall.measurements {change}"))


@contextmanager
def statements_of(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """What is sent to the server inside the block: (statement, parameters), as the driver gets them."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        sent.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
