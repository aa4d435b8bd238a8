"""The switch over HTTP: who may, what it says, and where it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from heimdall_assets.db import heartbeats, pauses
from heimdall_assets.db.engine import transaction
from heimdall_assets.web.tasks import PREFIX
from heimdall_assets_tests.web.client import Client

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets_tests.factory import SessionFactory

PAUSE, RESUME = f"{PREFIX}/pause", f"{PREFIX}/resume"
OPEN = {"paused": False, "paused_at": None, "paused_by": None, "reason": None, "changed": False}


def test_a_pause_is_seen_by_everybody_and_ended_by_anybody_with_the_token(api: Client, engine: Engine) -> None:
    with transaction(engine) as connection:
        heartbeats.beat(connection, heartbeats.PLANNER)
    assert api.get(PAUSE).document == OPEN
    paused = api.post(PAUSE, {"reason": "new disks"}).document
    assert (paused["paused"], paused["reason"], paused["changed"]) == (True, "new disks", True)
    assert paused["paused_by"].startswith("api ")
    assert api.post(PAUSE).document == {**paused, "changed": False}
    assert api.get(PAUSE).document == {**paused, "changed": False}
    # a monitor is not to wake anybody for it, and a stranger reads no reason
    health = Client(api.address).get("/health")
    assert health.status == 200
    [warning] = health.document["warnings"]
    assert warning.startswith("paused since")
    named = {key: value for key, value in health.document.items() if key != "warnings"}
    assert named == {"status": "ok", "database": "ok", "daemon": "ok", "planning": "paused"}
    assert "heimdall_paused 1.0" in api.get("/metrics").text
    asked = api.post(f"{PREFIX}/backfill-all").document
    assert asked["status"] == "queued"
    assert asked["message"].startswith("Full backfill started - this may take hours; it waits: paused since ")
    assert api.post(RESUME).document == {**OPEN, "changed": True}
    assert api.post(RESUME).document == OPEN
    assert Client(api.address).get("/health").document["planning"] == "on"
    assert "heimdall_paused 0.0" in api.get("/metrics").text


def test_every_page_shows_the_pause_and_takes_its_reason_for_text(
    api: Client, engine: Engine, factory: SessionFactory
) -> None:
    key = factory.add()
    paths = ("/", "/sessions", f"/sessions/{key}")
    assert [path for path in paths if "Paused." in api.get(path).text] == []
    with transaction(engine) as connection:
        pauses.pause(connection, by="cli ada", reason="<b>disks</b>")
    for path in paths:
        text = api.get(path).text
        assert "Paused." in text
        assert "by cli ada: &lt;b&gt;disks&lt;/b&gt;." in text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"reason": "a\nb"}, "reason="),
        ({"reason": "x" * 301}, "at most 300 characters"),
        ({"reason": 5}, "reason=5"),
        ({"until": "noon"}, "until="),
    ],
)
def test_a_bad_reason_is_422_and_pauses_nothing(api: Client, body: dict[str, object], said: str) -> None:
    answer = api.post(PAUSE, body)
    assert answer.status == 422
    assert said in answer.document["detail"]
    assert api.get(PAUSE).document == OPEN


def test_without_the_token_nobody_pauses(api: Client) -> None:
    stranger = Client(api.address)
    assert [stranger.post(path).status for path in (PAUSE, RESUME)] == [401, 401]
    assert stranger.get(PAUSE).status == 401
