"""The broker's check against an address that answers, one that does not, and none."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from heimdall_assets.diagnosis.broker import address_of, broker_findings
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from heimdall_assets.diagnosis.findings import Finding


def finding(url: str) -> Finding:
    """What the check says of a broker's URL."""
    (found,) = broker_findings(load_settings(celery_broker_url=url))
    return found


def test_without_a_broker_there_is_nothing_to_check() -> None:
    assert not list(broker_findings(load_settings(celery_broker_url=None)))


def test_a_broker_answers_until_it_is_away_and_its_password_is_not_shown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        url = f"redis://:a-secret@127.0.0.1:{port}/0"
        running = finding(url)
    away = finding(url)
    assert (running.status, running.remedy) == ("ok", None)
    assert away.status == "failure"
    assert "Connection refused" in away.message
    assert f"127.0.0.1:{port}" in away.message
    assert "a-secret" not in running.message + away.message


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost/0", ("localhost", 6379)),
        ("amqp://guest:guest@rabbit//", ("rabbit", 5672)),
        ("amqps://guest:guest@[::1]:5700//", ("::1", 5700)),
        ("sqs://", None),
    ],
)
def test_a_url_without_a_port_means_that_of_its_scheme(url: str, address: tuple[str, int] | None) -> None:
    assert address_of(url) == address
