"""Recording sessions for tests: rows as Heimdall's other services write them, and files that they point at."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from heimdall_assets.db import tables
from heimdall_assets.db.engine import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

SAMPLE_RATE_HZ = 10_000
NUM_SAMPLES = 10_000
FIRST_START = datetime(2025, 6, 1, tzinfo=UTC)
PLACES = ((45.04, 7.35), (45.23, 7.85), (45.07, 7.69), (45.05, 7.26), (44.56, 8.94), (44.41, 8.93), (45.46, 9.11))

GOOD = "good.npy"
TRUNCATED = "truncated.npy"
MISSING = "no-such-file.npy"


@dataclass
class SessionFactory:
    """Adds sessions; all good ones share one file, which is all that the planner and the store can see of it."""

    engine: Engine
    settings: Settings
    are_files_written: bool = False

    @property
    def root(self) -> Path:
        """The IQ root."""
        return Path(self.settings.resolved_iq_root)

    def write_files(self) -> None:
        """A tone in noise, and the same cut in the middle."""
        if self.are_files_written or (self.root / GOOD).exists():
            return
        rng = np.random.default_rng(1)
        time_s = np.arange(NUM_SAMPLES) / SAMPLE_RATE_HZ
        noise = rng.normal(size=(NUM_SAMPLES, 2)) @ (1, 1j) * 1e-7
        samples = (1e-6 * np.exp(2j * np.pi * 1234.5 * time_s) + noise).astype(np.complex64)
        np.save(self.root / GOOD, samples)
        whole = (self.root / GOOD).read_bytes()
        (self.root / TRUNCATED).write_bytes(whole[: len(whole) // 2])
        self.are_files_written = True

    def add(
        self,
        locations: Sequence[str | None] = (GOOD,) * 3,
        *,
        minutes: float = 0.0,
        status: str = "completed",
        **more: Any,
    ) -> uuid.UUID:
        """Add one session with a measurement a location.

        Parameters
        ----------
        locations : sequence of str or None
            iq_data_location of each receiver, relative to the root; None: a measurement without IQ data.
        minutes : float
            When it started and was completed, after the first of June 2025.
        status : str
            Of the session.
        **more
            Further columns of recording_sessions.
        """
        return self.add_many(1, locations, minutes=minutes, status=status, **more)[0]

    def add_many(
        self,
        count: int,
        locations: Sequence[str | None] = (GOOD,) * 3,
        *,
        minutes: float = 0.0,
        status: str = "completed",
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        ids: Sequence[uuid.UUID] | None = None,
        **more: Any,
    ) -> list[uuid.UUID]:
        """Add sessions a minute apart, in one transaction; the sample rate is what their measurements say.

        They have the ids that are given, or new ones.
        """
        self.write_files()
        ids = [uuid.uuid4() for _ in range(count)] if ids is None else list(ids)
        with transaction(self.engine) as connection:
            stations = [self._station(connection, index) for index in range(len(locations))]
            starts = [FIRST_START + timedelta(minutes=minutes + i) for i in range(count)]
            connection.execute(
                insert(tables.recording_sessions),
                [
                    {
                        "id": key,
                        "session_name": f"session {start:%d %H:%M}",
                        "session_start": start,
                        "duration_seconds": 1.0,
                        "status": status,
                        "created_at": start,
                        "updated_at": start,
                        **more,
                    }
                    for key, start in zip(ids, starts, strict=True)
                ],
            )
            rows = [
                {
                    "timestamp": start,
                    "id": uuid.uuid4(),
                    "websdr_station_id": station,
                    "recording_session_id": key,
                    "frequency_hz": 145_500_000,
                    "iq_data_location": location,
                    "iq_data_format": "npy",
                    "iq_sample_rate": sample_rate_hz,
                    "created_at": start,
                }
                for key, start in zip(ids, starts, strict=True)
                for station, location in zip(stations, locations, strict=True)
            ]
            if rows:
                connection.execute(insert(tables.measurements), rows)
        return ids

    def replace_file(self, session_id: uuid.UUID, location: str) -> None:
        """Point all measurements of a session somewhere else."""
        with transaction(self.engine) as connection:
            connection.execute(
                sa.update(tables.measurements)
                .where(tables.measurements.c.recording_session_id == session_id)
                .values(iq_data_location=location)
            )

    def _station(self, connection: sa.Connection, index: int) -> uuid.UUID:
        table = tables.websdr_stations
        latitude, longitude = PLACES[index % len(PLACES)]
        name = f"RX{index + 1}"
        connection.execute(
            insert(table)
            .values(name=name, latitude=latitude + index // len(PLACES), longitude=longitude)
            .on_conflict_do_nothing(index_elements=[table.c.name])
        )
        found: uuid.UUID = connection.execute(sa.select(table.c.id).where(table.c.name == name)).scalar_one()
        return found

    def scalar(self, query: str, **parameters: Any) -> Any:
        """One value of the database."""
        with transaction(self.engine) as connection:
            return connection.scalar(sa.text(query), parameters)

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        with transaction(self.engine) as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), parameters)]

    def state(self, session_id: uuid.UUID) -> str:
        """State of a session."""
        return str(
            self.scalar("SELECT state FROM heimdall.feature_states WHERE recording_session_id = :id", id=session_id)
        )
