"""Settings of receivers: what holds when, and what the table refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import migrate, receivers
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.validity import settings_at
from heimdall_assets.errors import DatabaseError, UnknownStation
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import ReceiverSettings
from heimdall_assets_tests.db.rows import add_station, drop_session_link, statements_of
from heimdall_assets_tests.factory import FIRST_START, GOOD

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

T = datetime(2025, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_without_settings_every_station_has_the_defaults_known_or_not(engine: Engine) -> None:
    with transaction(engine) as connection:
        add_station(connection, "RX1")
        assert settings_at(connection, ["RX1", "nobody"], T) == {
            "RX1": ReceiverSettings(30.0, None, False),
            "nobody": ReceiverSettings(),
        }
        assert settings_at(connection, [], T) == {}


def test_the_settings_that_became_valid_last_hold_from_their_moment_on(engine: Engine) -> None:
    with transaction(engine) as connection:
        add_station(connection, "RX1")
        receivers.set_settings(connection, "RX1", T + HOUR, calibration_db=2.0, passband_hz=(-3e3, 3e3))
        receivers.set_settings(connection, "RX1", T, calibration_db=1.0)
        receivers.set_settings(connection, "RX1", T + 2 * HOUR, passband_hz=None, response=((-1e3, -2.5), (1e3, 0.1)))

        def held(moment: datetime) -> ReceiverSettings:
            return settings_at(connection, ["RX1"], moment)["RX1"]

        second = timedelta(seconds=1)
        assert held(T - second) == ReceiverSettings()
        assert held(T) == ReceiverSettings(1.0)
        assert held(T + HOUR - second) == ReceiverSettings(1.0)
        assert held(T + HOUR) == ReceiverSettings(2.0, (-3e3, 3e3))
        assert held(T + 9 * HOUR) == ReceiverSettings(2.0, response=((-1e3, -2.5), (1e3, 0.1)))
        history = receivers.settings_history(connection)
        assert [(item.station, item.valid_from) for item in history] == [
            ("RX1", T),
            ("RX1", T + HOUR),
            ("RX1", T + 2 * HOUR),
        ]


def test_rows_that_say_nothing_mean_the_defaults(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(
            sa.text("INSERT INTO heimdall.receiver_settings (station, valid_from) VALUES ('RX1', :t)"), {"t": T}
        )
        assert settings_at(connection, ["RX1"], T) == {"RX1": ReceiverSettings()}


def test_from_now_on_is_a_whole_second_and_nothing_is_written_where_it_is_so_already(engine: Engine) -> None:
    with transaction(engine) as connection:
        add_station(connection, "RX1")
        assert not receivers.set_settings(connection, "RX1", calibration_db=30.0).is_changed
        change = receivers.set_settings(connection, "RX1", remove_dc=True)
        assert change.is_changed
        assert change.valid_from.microsecond == 0
        assert not receivers.set_settings(connection, "RX1", remove_dc=True).is_changed
        assert len(receivers.settings_history(connection)) == 1
        assert receivers.remove_settings(connection, "RX1", change.valid_from).settings == ReceiverSettings()
        assert receivers.settings_history(connection) == []


def test_an_unknown_station_gets_no_settings(engine: Engine) -> None:
    with pytest.raises(UnknownStation, match="there is no receiver 'RX9'"), transaction(engine) as connection:
        receivers.set_settings(connection, "RX9", T, remove_dc=True)
    with pytest.raises(UnknownStation), transaction(engine) as connection:
        receivers.remove_settings(connection, "RX9", T)


@pytest.mark.parametrize(
    "values",
    [
        {"calibration_db": "NaN"},
        {"calibration_db": "Infinity"},
        {"calibration_db": "-Infinity"},
        {"passband_low_hz": -3e3},
        {"passband_high_hz": 3e3},
        {"passband_low_hz": 3e3, "passband_high_hz": -3e3},
        {"passband_low_hz": 3e3, "passband_high_hz": 3e3},
        {"passband_low_hz": "-Infinity", "passband_high_hz": 3e3},
        {"passband_low_hz": -3e3, "passband_high_hz": "NaN"},
        {"valid_from": "-infinity"},
        {"response": "5"},
        {"response": "null"},
        {"response": "{}"},
        {"response": "[]"},
        {"response": "[[0, 1]]"},
        {"response": "[[0, 1], 2]"},
        {"response": "[[0, 1], [2]]"},
        {"response": "[[0, 1], [2, 3, 4]]"},
        {"response": '[[0, 1], [2, "3"]]'},
        {"response": "[[0, 1], [null, 3]]"},
        {"response": "[[0, 1], [[2], 3]]"},
    ],
    ids=str,
)
def test_the_table_refuses_what_cannot_be_computed_with(engine: Engine, values: dict[str, Any]) -> None:
    row = {"station": "RX1", "valid_from": "2025-06-01", **values}
    columns = ", ".join(row)
    query = f"INSERT INTO heimdall.receiver_settings ({columns}) VALUES ({', '.join(f':{name}' for name in row)})"
    with pytest.raises(DatabaseError, match="violates check constraint"), transaction(engine) as connection:
        connection.execute(sa.text(query), row)


def test_more_receivers_take_no_more_statements(engine: Engine, factory: SessionFactory, settings: Settings) -> None:
    def statements(receivers: int) -> list[str]:
        key = factory.add((GOOD,) * receivers)
        with statements_of(engine) as sent:
            extract_session(engine, key, settings)
        return [statement for statement, _ in sent]

    statements(1)  # the first one of a process asks the database about itself
    assert len(statements(1)) == len(statements(4))


def test_a_database_whose_measurements_do_not_name_their_session_is_marked_and_computed_again_all_the_same(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, GOOD))
    extract_session(engine, key, settings)
    with transaction(engine) as connection:
        drop_session_link(connection)
    old = open_engine(engine.url)
    try:
        with transaction(old) as connection:
            assert receivers.set_settings(connection, "RX2", FIRST_START, calibration_db=1.0).sessions_stale == 1
        assert extract_session(old, key, settings, stale=True).computed
    finally:
        old.dispose()


def test_settings_outlive_an_upgrade(engine: Engine) -> None:
    with transaction(engine) as connection:
        add_station(connection, "RX1")
        receivers.set_settings(connection, "RX1", T, calibration_db=1.0)
    migrate.upgrade(engine)
    with transaction(engine) as connection:
        assert settings_at(connection, ["RX1"], T) == {"RX1": ReceiverSettings(1.0)}


def rename(engine: Engine, before: str, after: str) -> None:
    """Give a receiver another name, as others do."""
    with transaction(engine) as connection:
        query = "UPDATE heimdall.websdr_stations SET name = :after WHERE name = :before"
        connection.execute(sa.text(query), {"before": before, "after": after})


def test_a_receiver_that_is_renamed_keeps_its_settings_and_a_new_one_of_its_name_has_none(engine: Engine) -> None:
    with transaction(engine) as connection:
        add_station(connection, "A")
        receivers.set_settings(connection, "A", T, calibration_db=1.0)
    rename(engine, "A", "B")
    with transaction(engine) as connection:
        add_station(connection, "A")
        assert settings_at(connection, ["A", "B"], T) == {"A": ReceiverSettings(), "B": ReceiverSettings(1.0)}
        assert [item.station for item in receivers.settings_history(connection)] == ["B"]
        later = T + timedelta(days=1)
        receivers.set_settings(connection, "B", later, calibration_db=2.0)
        assert settings_at(connection, ["B"], later)["B"] == ReceiverSettings(2.0)
        assert receivers.remove_settings(connection, "B", T).is_changed
        assert settings_at(connection, ["B"], T)["B"] == ReceiverSettings()


def test_the_name_wins_where_the_id_is_not_known(engine: Engine) -> None:
    with transaction(engine) as connection:
        add_station(connection, "A")
        receivers.set_settings(connection, "A", T, calibration_db=1.0)
        connection.execute(sa.text("DELETE FROM heimdall.websdr_stations"))
        assert settings_at(connection, ["A"], T)["A"] == ReceiverSettings(1.0)
        add_station(connection, "A")  # with another id
        assert settings_at(connection, ["A"], T)["A"] == ReceiverSettings(1.0)
        connection.execute(sa.text("UPDATE heimdall.receiver_settings SET station_id = NULL"))
        assert settings_at(connection, ["A"], T)["A"] == ReceiverSettings(1.0)
