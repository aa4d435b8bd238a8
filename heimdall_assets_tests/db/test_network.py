"""Receivers: who delivered, who heard something, who failed, and who has gone quiet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import attempts, discovery, network, states
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.network import ReceiverHealth, receiver_health
from heimdall_assets.db.states import RetryRule
from heimdall_assets.db.tables import known_sources, measurement_features, websdr_stations
from heimdall_assets.errors import TruncatedRecording
from heimdall_assets_tests.db.rows import add_features, add_measurement, add_session, add_station

if TYPE_CHECKING:
    import uuid

    from sqlalchemy.engine import Connection, Engine

START = datetime(2025, 6, 1, 12, tzinfo=UTC)


def add(connection: Connection, index: int, names: str, receivers: list[dict[str, Any]] | None = None) -> uuid.UUID:
    """A session of these receivers, with features where they are given; the index is its minute."""
    start = START + timedelta(minutes=index)
    key = add_session(connection, session_start=start, created_at=start, updated_at=start, duration_seconds=1.0)
    for name in names:
        add_measurement(connection, start, station=name, recording_session_id=key)
    if receivers is not None:
        add_features(connection, key, receivers, metadata={"feature_version": 1})
    discovery.discover(connection)
    return key


def features(name: str, snr_db: float | None, signal: float) -> dict[str, Any]:
    """A receiver's object."""
    return {"rx_id": name, "snr_db": {"mean": snr_db}, "signal_present": {"mean": signal}}


def by_name(connection: Connection, latest: int = 100) -> dict[str, ReceiverHealth]:
    """Health of every receiver."""
    return {receiver.name: receiver for receiver in receiver_health(connection, latest=latest)}


def test_a_receivers_share_signal_failures_and_snr_are_over_the_latest_sessions(engine: Engine) -> None:
    with transaction(engine) as connection:
        add(connection, 0, "AB", [features("A", 99.0, 1.0), features("B", 99.0, 1.0)])  # too old for the sample
        add(connection, 1, "ABC", [features("A", 10.0, 1.0), features("B", None, 0.2), {"rx_id": "C", "error": {}}])
        add(connection, 2, "AB", [features("A", 20.0, 0.6), features("B", 5.0, 1.0)])
        broken = add(connection, 3, "AC")
        number = attempts.begin_attempt(connection, broken, run_id=None, feature_version=1)
        error = TruncatedRecording("cut")
        states.set_failed(connection, broken, error, RetryRule(1, 1.0, 1.0))
        attempts.finish_attempt(connection, broken, number, outcome="failed", seconds=0.1, error=error)
        add(connection, 4, "A")  # pending
        connection.execute(sa.update(websdr_stations).values(is_active=sa.text("name <> 'D'")))
        add_station(connection, "E")
        found = by_name(connection, latest=4)
    assert list(found) == ["A", "B", "C", "E"]
    a, b, c, e = found.values()
    assert {receiver.sessions for receiver in found.values()} == {4}
    assert (a.delivered, a.with_features, a.with_signal, a.failing, a.mean_snr_db) == (4, 2, 2, 1, 15.0)
    assert (b.delivered, b.with_features, b.with_signal, b.failing, b.mean_snr_db) == (2, 2, 1, 0, 5.0)
    assert (c.delivered, c.with_features, c.with_signal, c.failing, c.mean_snr_db) == (2, 0, 0, 2, None)
    assert (e.delivered, e.last_seen, e.missed) == (0, None, 4)
    assert (a.delivered_percent, b.delivered_percent, b.signal_percent) == (100.0, 50.0, 50.0)
    assert (c.failing_percent, c.signal_percent, e.failing_percent) == (100.0, None, None)
    assert (a.last_seen, a.missed) == (START + timedelta(minutes=4), 0)
    assert (b.last_seen, b.missed) == (START + timedelta(minutes=2), 2)


def test_rows_that_other_code_wrote_may_hold_anything(engine: Engine) -> None:
    odd: list[dict[str, Any]] = [
        {},
        {"rx_id": "A", "snr_db": "high", "signal_present": {"mean": "yes"}},
        {"rx_id": None, "snr_db": {"mean": None}},
        {"rx_id": "A", "snr_db": {"mean": 7.0}},
    ]
    with transaction(engine) as connection:
        add(connection, 0, "A", odd)
        found = by_name(connection)
    assert (found["A"].with_features, found["A"].with_signal, found["A"].mean_snr_db) == (2, 0, 7.0)


def receiver(**changes: Any) -> ReceiverHealth:
    """A receiver that delivered to all of 100 sessions."""
    values: dict[str, Any] = {
        "name": "A",
        "latitude": None,
        "longitude": None,
        "is_active": True,
        "sessions": 100,
        "delivered": 100,
        "with_features": 100,
        "with_signal": 50,
        "failing": 0,
        "mean_snr_db": None,
        "last_seen": START,
        "missed": 0,
    }
    return ReceiverHealth(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "is_quiet"),
    [
        ({}, False),
        ({"missed": 9, "delivered": 91}, False),  # too few to say
        ({"missed": 10, "delivered": 90}, True),
        ({"missed": 12, "delivered": 8}, False),  # one in eleven: missing twelve happens
        ({"missed": 90, "delivered": 2}, True),
        ({"missed": 100, "delivered": 0, "last_seen": None}, True),
        ({"missed": 100, "delivered": 0, "last_seen": None, "is_active": False}, False),
        ({"sessions": 0, "delivered": 0, "missed": 0, "last_seen": None}, False),
    ],
)
def test_a_receiver_is_quiet_if_by_its_own_share_it_should_have_been_heard_of(
    changes: dict[str, Any], is_quiet: bool
) -> None:
    assert receiver(**changes).is_quiet is is_quiet


def test_figures_are_those_of_sessions_with_features_and_places_those_that_are_known(engine: Engine) -> None:
    with transaction(engine) as connection:
        key = add(connection, 0, "A", [features("A", 3.0, 1.0)])
        add(connection, 1, "A")
        connection.execute(
            sa.update(measurement_features)
            .where(measurement_features.c.recording_session_id == key)
            .values(mean_snr_db=3.0, gdop=None)
        )
        connection.execute(
            sa.insert(known_sources),
            [
                {"name": "known", "latitude": 45.0, "longitude": 8.0},
                {"name": "nowhere", "latitude": None, "longitude": 8.0},
                {"name": "impossible", "latitude": 95.0, "longitude": 8.0},
            ],
        )
        assert network.session_figures(connection, latest=10) == [(3.0, None)]
        receivers, sources = network.places(connection)
    assert [place.name for place in receivers] == ["A"]
    assert [place.name for place in sources] == ["known"]
