"""Check of the broker that sends runs to workers, where there is one."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from heimdall_assets.diagnosis.findings import FAILURE, OK, Finding
from heimdall_assets.settings import Settings, without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import SecretStr

CONNECT_TIMEOUT_S = 3.0
PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}
"""By a URL's scheme; others say their port."""


def broker_findings(settings: Settings) -> Iterator[Finding]:
    """Check that the broker's address answers; nothing where runs are processes of the daemon's machine."""
    if settings.celery_broker_url is not None:
        yield _finding(settings.celery_broker_url)


def address_of(url: str) -> tuple[str, int] | None:
    """Host and port of a broker's URL; None where it does not say them and its scheme has no port of its own."""
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme)
    return None if port is None or not parts.hostname else (parts.hostname, port)


def _finding(url: SecretStr) -> Finding:
    shown = without_password(url.get_secret_value())
    if find_spec("dagster_celery") is None:
        return Finding("broker", FAILURE, "dagster-celery is not installed", "pip install 'heimdall-assets[celery]'")
    address = address_of(url.get_secret_value())
    if address is None:
        return Finding("broker", FAILURE, f"{shown} names no host and port", "set HEIMDALL_CELERY_BROKER_URL")
    try:
        with socket.create_connection(address, CONNECT_TIMEOUT_S):
            pass
    except OSError as error:
        reason = error.strerror or error
        return Finding(
            "broker",
            FAILURE,
            f"{shown} cannot be reached: {reason}",
            "start it; until then runs wait in Dagster's queue",
        )
    return Finding("broker", OK, f"{shown} answers; `heimdall worker` takes runs from it")
