"""The network: a list of sessions, each written as a folder that ``heimdall ingest`` reads."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.errors import SettingError
from heimdall_assets.synthetic.places import RECEIVERS, TRANSMITTERS, Receiver, Transmitter
from heimdall_assets.synthetic.propagation import (
    DURATION_S,
    SAMPLE_RATE_HZ,
    Reception,
    check_sampling,
    receive,
    reception,
    transmit,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heimdall_assets.synthetic.waveforms import ComplexSamples

FIRST_START = datetime(2025, 6, 1, 2, 15, tzinfo=UTC)
"""When the first session starts; the fortieth starts at 12:00."""
INTERVAL = timedelta(minutes=15)
FAULT_PERIOD = 40
"""Every so many sessions have one of each fault."""
MAX_SESSIONS = 100_000
MIN_RECEIVERS = 2
"""With one receiver, a recording could not be broken in part."""


class Fault(StrEnum):
    """What is wrong with a session on purpose."""

    TRUNCATED = "truncated"
    """Every receiver's file ends in the middle: the session fails."""
    MISSING = "missing"
    """Whole when written. Whoever registers the session deletes its registered objects afterwards: it fails."""
    ONE_TRUNCATED = "one_truncated"
    """One receiver's file ends in the middle: the session is partial."""


@dataclass(frozen=True, slots=True)
class SyntheticSession:
    """One transmission that the network records.

    Attributes
    ----------
    index : int
        Position in the list of sessions, from 0.
    name : str
        Name of its folder.
    transmitter : Transmitter
        Who is heard.
    session_start : datetime
        UTC time of the first sample.
    seed : int
        Of everything random in it.
    fault : Fault or None
        What is wrong with it.
    broken_receivers : tuple of str
        Names of the receivers that the fault concerns.
    """

    index: int
    name: str
    transmitter: Transmitter
    session_start: datetime
    seed: int
    fault: Fault | None
    broken_receivers: tuple[str, ...]


class SyntheticNetwork:
    """A seeded network; what it makes is a function of its arguments and the session's index alone.

    Parameters
    ----------
    seed : int
        Not negative.
    num_receivers : int
        From 2 to 19; seven is the real network.
    duration_s, sample_rate_hz : float
        Of every recording.
    first_start : datetime
        Aware time of the first session; another one follows every 15 minutes.

    Raises
    ------
    SettingError
        An argument is outside its range.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        num_receivers: int = 7,
        duration_s: float = DURATION_S,
        sample_rate_hz: float = SAMPLE_RATE_HZ,
        first_start: datetime = FIRST_START,
    ) -> None:
        if seed < 0:
            raise SettingError(f"{seed=} is not allowed: 0 or more")
        if not MIN_RECEIVERS <= num_receivers <= len(RECEIVERS):
            raise SettingError(f"{num_receivers=} is not allowed: from {MIN_RECEIVERS} to {len(RECEIVERS)}")
        if first_start.tzinfo is None:
            raise SettingError(f"first_start={first_start.isoformat()} is not allowed: a time with its zone")
        check_sampling(duration_s, sample_rate_hz)
        self.seed = seed
        self.receivers: tuple[Receiver, ...] = RECEIVERS[:num_receivers]
        self.transmitters: tuple[Transmitter, ...] = TRANSMITTERS
        self.duration_s = duration_s
        self.sample_rate_hz = sample_rate_hz
        self.first_start = first_start.astimezone(UTC)

    def sessions(self, count: int) -> tuple[SyntheticSession, ...]:
        """Return the first sessions of the network; a longer list begins with the same recordings.

        Parameters
        ----------
        count : int
            From 0 to 100,000. Each 40 sessions have one of every fault, at a quarter, a half and three quarters of
            the way (10, 20, 30); a list of 3 to 39 has them at the same fractions of its length, a shorter one has
            none.

        Returns
        -------
        tuple of SyntheticSession
            In the order of their times.

        Raises
        ------
        SettingError
            The count is outside its range.
        """
        if not 0 <= count <= MAX_SESSIONS:
            raise SettingError(f"{count=} is not allowed: from 0 to {MAX_SESSIONS} sessions")
        period = min(count, FAULT_PERIOD)
        return tuple(self._session(index, _fault(index, period)) for index in range(count))

    def truth(self, session: SyntheticSession) -> tuple[Reception, ...]:
        """Return what is true of each receiver's recording, in the order of ``receivers``."""
        return tuple(
            reception(session.transmitter, receiver, seed=session.seed, sample_rate_hz=self.sample_rate_hz)
            for receiver in self.receivers
        )

    def recordings(self, session: SyntheticSession) -> Iterator[tuple[Receiver, ComplexSamples]]:
        """Yield each receiver with its whole recording: complex64, shape (n,), |x|^2 in watts."""
        transmission = transmit(
            session.transmitter,
            seed=session.seed,
            duration_s=self.duration_s,
            sample_rate_hz=self.sample_rate_hz,
        )
        for receiver in self.receivers:
            yield receiver, receive(transmission, receiver)

    def write(self, session: SyntheticSession, folder: Path) -> Path:
        """Write a session as a folder of its own, with its fault; repeating it writes the same bytes.

        Parameters
        ----------
        session : SyntheticSession
            One of :meth:`sessions`.
        folder : Path
            Where the session's folder is made.

        Returns
        -------
        Path
            ``folder / session.name``, with ``stations.json`` and a ``.npy`` file for each receiver.
        """
        target = folder / session.name
        target.mkdir(parents=True, exist_ok=True)
        cut = () if session.fault is Fault.MISSING else session.broken_receivers
        for receiver, samples in self.recordings(session):
            path = target / _file_name(receiver)
            np.save(path, samples)
            if receiver.name in cut:
                os.truncate(path, path.stat().st_size // 2)
        text = json.dumps(self._stations(session), indent=2, ensure_ascii=False)
        (target / "stations.json").write_text(text + "\n", encoding="utf-8")
        return target

    def _session(self, index: int, fault: Fault | None) -> SyntheticSession:
        transmitter = self.transmitters[index % len(self.transmitters)]
        names = tuple(receiver.name for receiver in self.receivers)
        broken = {None: (), Fault.ONE_TRUNCATED: (names[index % len(names)],)}.get(fault, names)
        return SyntheticSession(
            index=index,
            name=f"synthetic-{index:04d}-{_slug(transmitter.name)}",
            transmitter=transmitter,
            session_start=self.first_start + index * INTERVAL,
            seed=int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)[0]),
            fault=fault,
            broken_receivers=broken,
        )

    def _stations(self, session: SyntheticSession) -> dict[str, object]:
        source = session.transmitter
        return {
            "description": f"{source.name} ({source.modulation}), computed: no antenna was involved",
            "source": f"heimdall_assets.synthetic, network seed {self.seed}, session {session.index}",
            "center_frequency_hz": source.frequency_hz,
            "sample_rate_hz": self.sample_rate_hz,
            "session_start": session.session_start.isoformat().replace("+00:00", "Z"),
            "known_source": {
                "name": source.name,
                "frequency_hz": source.frequency_hz,
                "latitude": source.latitude,
                "longitude": source.longitude,
                "power_dbm": source.power_dbm,
                "source_type": source.source_type,
            },
            "receivers": [
                {
                    "name": receiver.name,
                    "file": _file_name(receiver),
                    "latitude": receiver.latitude,
                    "longitude": receiver.longitude,
                    "altitude_asl": receiver.altitude_m,
                }
                for receiver in self.receivers
            ],
        }


def _fault(index: int, period: int) -> Fault | None:
    if period < len(Fault):
        return None
    positions = {
        period // 4: Fault.TRUNCATED,
        period // 2: Fault.ONE_TRUNCATED,
        3 * period // 4: Fault.MISSING,
    }
    return positions.get(index % period)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def _file_name(receiver: Receiver) -> str:
    return f"{_slug(receiver.name)}.npy"
