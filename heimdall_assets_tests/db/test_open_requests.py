"""Requests that have not ended: the same is asked for once, whoever asks and however many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db import requests
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.open_requests import open_request, submit_or_join
from heimdall_assets.db.requests import Selection
from heimdall_assets.db.tables import feature_requests

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.engine import Engine

EVERYTHING = Selection(pending=True)


def ask(engine: Engine, selection: Selection = EVERYTHING) -> tuple[UUID, bool]:
    """Ask in a transaction of its own."""
    with transaction(engine) as connection:
        return submit_or_join(connection, selection, requested_by="test")


def test_the_same_selection_joins_until_the_request_has_ended(engine: Engine) -> None:
    first, is_new = ask(engine)
    assert is_new
    assert ask(engine) == (first, False)
    with transaction(engine) as connection:
        assert open_request(connection, EVERYTHING) == first
        requests.cancel(connection, first)
        assert open_request(connection, EVERYTHING) is None
    second, is_new = ask(engine)
    assert is_new
    assert second != first


def test_whatever_differs_in_a_selection_makes_another_request(engine: Engine) -> None:
    keys = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
    selections = (
        EVERYTHING,
        Selection(pending=True, limit=5),
        Selection(pending=True, limit=5, batch_size=5),
        Selection(stale=True),
        Selection(failed=True),
        Selection(reason="truncated"),
        Selection(session_ids=keys),
        Selection(session_ids=keys[:1]),
        Selection(pending=True, since="2025-06-01T00:00:00+00:00"),
    )
    asked = [ask(engine, selection) for selection in selections]
    assert all(is_new for _, is_new in asked)
    assert [ask(engine, selection) for selection in selections] == [(key, False) for key, _ in asked]


def test_of_many_that_ask_at_once_exactly_one_writes(engine: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: ask(engine), range(24)))
    assert sum(is_new for _, is_new in asked) == 1
    assert len({key for key, _ in asked}) == 1
    with transaction(engine) as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(feature_requests)) == 1
