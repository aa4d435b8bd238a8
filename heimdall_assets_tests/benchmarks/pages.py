"""How long the dashboard's pages and the API's figures take over real HTTP, on a database that is there."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import sqlalchemy as sa
from pydantic import SecretStr

from heimdall_assets.db.engine import transaction
from heimdall_assets.web.tasks import PREFIX
from heimdall_assets_tests.web.client import Client
from heimdall_assets_tests.web.server import TOKEN, serving

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

REPETITIONS = 5
_SESSION = """
    SELECT recording_session_id, completed_at FROM heimdall.feature_states
    WHERE state = 'done' ORDER BY completed_at OFFSET :offset LIMIT 1"""


def endpoints(engine: Engine, sessions: int) -> dict[str, list[str]]:
    """Paths of each figure: the dashboard, lists of sessions (from the middle on too), a session, metrics, stats."""
    with transaction(engine) as connection:
        middle = connection.execute(sa.text(_SESSION), {"offset": sessions // 2}).one()
    after = urlencode({"after": middle.completed_at.isoformat(), "after_id": str(middle.recording_session_id)})
    queries = ["", "state=trouble", "state=stale", "state=pending", "reason=truncated"]
    return {
        "dashboard_ms": ["/"],
        "sessions_ms": [f"/sessions?{query}{more}" for query in queries for more in ("", f"&{after}")],
        "session_ms": [f"/sessions/{middle.recording_session_id}"],
        "metrics_ms": ["/metrics"],
        "api_stats_ms": [f"{PREFIX}/stats"],
    }


def measure_pages(engine: Engine, settings: Settings, sessions: int) -> dict[str, float]:
    """Median time in ms of each figure's slowest path, after one request for warming up."""
    url = engine.url.render_as_string(hide_password=False)
    more = {"database_url": url, "admin_token": SecretStr(TOKEN), "api_rate_limit": "1000000/minute"}
    with serving(settings.model_copy(update=more)) as address:
        client = Client(address, TOKEN)
        return {
            name: max(_median_ms(client, path) for path in paths) for name, paths in endpoints(engine, sessions).items()
        }


def _median_ms(client: Client, path: str) -> float:
    taken = []
    for _ in range(REPETITIONS + 1):
        started = time.perf_counter()
        answer = client.get(path)
        taken.append(1000 * (time.perf_counter() - started))
        assert answer.status == 200, f"{path}: {answer.status} {answer.text[:200]}"
    return round(statistics.median(taken[1:]), 1)
