"""A session's page reads a row as every other part does, whoever wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from heimdall_assets.db.engine import transaction
from heimdall_assets.dsp import FEATURES
from heimdall_assets.extraction import extract_session
from heimdall_assets.web.session_view import ReceiverView, read_session
from heimdall_assets_tests.db.rows import add_features
from heimdall_assets_tests.factory import GOOD, TRUNCATED

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory


def receivers_shown(engine: Engine, session_id: UUID) -> dict[str, ReceiverView]:
    """What the page shows of each receiver."""
    with transaction(engine) as connection:
        view = read_session(connection, session_id, source_tolerance_hz=1000.0)
    return {receiver.name: receiver for receiver in view.receivers}


@pytest.mark.parametrize(
    "content",
    [
        {"receiver_id": "RX1", "snr_db": 12.5, "bandwidth_hz": "8000"},
        {"station": "RX1", "snr_db": {"avg": 12.5}, "bandwidth_hz": {"value": 8000}},
        {"name": "RX1", "features": {"snr_db_mean": 12.5, "spectral": {"bandwidth_hz": [7000, 9000]}}},
        {"rx_id": "RX1", "snr_db": {"mean": 12.5, "std": 0}, "bandwidth_hz": {"mean": 8e3}, "rssi_dbm": "none"},
    ],
    ids=["bare numbers", "other words", "nested", "as ours"],
)
def test_rows_of_other_code_show_their_figures_beside_the_recording_of_their_receiver(
    engine: Engine, factory: SessionFactory, content: dict[str, Any]
) -> None:
    session_id = factory.add([GOOD])
    with transaction(engine) as connection:
        add_features(connection, session_id, [content])
    shown = receivers_shown(engine, session_id)
    assert list(shown) == ["RX1"]
    defined = {name: mean for name, mean in shown["RX1"].means.items() if mean is not None}
    assert defined == {"snr_db": 12.5, "bandwidth_hz": 8000.0}
    assert shown["RX1"].location == GOOD


def test_a_receiver_that_failed_has_no_figures_whatever_stands_beside_its_error(
    engine: Engine, factory: SessionFactory
) -> None:
    session_id = factory.add([GOOD])
    with transaction(engine) as connection:
        add_features(connection, session_id, [{"rx_id": "RX1", "error": "timeout", "signal_present": False}])
    receiver = receivers_shown(engine, session_id)["RX1"]
    assert receiver.error == "timeout"
    assert not receiver.has_features


def test_our_own_rows_show_means_of_the_healthy_and_reasons_of_the_others(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    session_id = factory.add([GOOD, TRUNCATED])
    extract_session(engine, session_id, settings)
    shown = receivers_shown(engine, session_id)
    assert set(shown["RX1"].means) == {feature.name for feature in FEATURES}
    assert shown["RX1"].means["signal_present"] == 1.0
    assert shown["RX1"].input["sample_rate_hz"] == 10_000
    assert str(shown["RX2"].error).startswith("truncated: ")
