"""Requests that have not ended: who asks for the same again joins the one that is there."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from heimdall_assets.db import requests
from heimdall_assets.db.tables import feature_requests

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from heimdall_assets.db.requests import Selection

_TAKE_TURNS = "SELECT pg_advisory_xact_lock(hashtextextended('heimdall_assets:submit', 0))"


def open_request(connection: Connection, selection: Selection) -> UUID | None:
    """The request with this very selection that has not ended, the oldest of several; None where there is none."""
    query = (
        sa.select(feature_requests.c.id)
        .where(
            feature_requests.c.finished_at.is_(None),
            feature_requests.c.status != "cancelled",
            feature_requests.c.selection == sa.cast(asdict(selection), JSONB),
        )
        .order_by(feature_requests.c.created_at)
        .limit(1)
    )
    found: UUID | None = connection.scalar(query)
    return found


def submit_or_join(connection: Connection, selection: Selection, *, requested_by: str) -> tuple[UUID, bool]:
    """Write a request down, unless the same is already asked for.

    Two that ask at once take turns, by a lock that ends with the caller's transaction: exactly one of them writes.

    Returns
    -------
    tuple of (UUID, bool)
        The request, and whether it is new.
    """
    connection.execute(sa.text(_TAKE_TURNS))
    there = open_request(connection, selection)
    if there is not None:
        return there, False
    return requests.submit(connection, selection, requested_by=requested_by), True
