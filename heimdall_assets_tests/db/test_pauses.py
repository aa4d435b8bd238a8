"""The switch: one pause holds at a time, with the name and the words of whoever came first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from heimdall_assets.db import pauses
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.locks import planner_lock
from heimdall_assets.db.pauses import Pause
from heimdall_assets.errors import Paused, SettingError
from heimdall_assets_tests.dagster_api import wait_for

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets_tests.factory import SessionFactory


def pause(engine: Engine, by: str = "cli ada", reason: str | None = None) -> tuple[Pause, bool]:
    """Pause in a transaction of its own."""
    with transaction(engine) as connection:
        return pauses.pause(connection, by=by, reason=reason)


def test_a_pause_holds_until_it_is_resumed_and_stays_on_record(engine: Engine, factory: SessionFactory) -> None:
    with transaction(engine) as connection:
        assert pauses.current_pause(connection) is None
        pauses.require_running(connection)
    held, is_new = pause(engine, reason="new disks")
    assert (held.paused_by, held.reason, is_new) == ("cli ada", "new disks", True)
    with transaction(engine) as connection:
        assert pauses.current_pause(connection) == held
        with pytest.raises(Paused, match=r"^paused since .* UTC by cli ada: new disks; `heimdall resume` ends it$"):
            pauses.require_running(connection)
    with transaction(engine) as connection:
        assert pauses.resume(connection, by="api bob") == held
        assert pauses.current_pause(connection) is None
        assert pauses.resume(connection, by="api bob") is None
    query = "SELECT paused_by, reason, resumed_by, resumed_at >= paused_at FROM heimdall.feature_pauses"
    assert factory.rows(query) == [("cli ada", "new disks", "api bob", True)]


def test_who_pauses_again_changes_nothing_however_many_do_at_once(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: pause(engine, f"cli {number}"), range(4)))
    assert sorted(is_new for _, is_new in answers) == [False, False, False, True]
    assert len({held for held, _ in answers}) == 1


def test_a_pause_waits_for_the_tick_that_is_under_way(engine: Engine, factory: SessionFactory) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor(1) as pool:
        with planner_lock(engine) as planner:
            assert planner is not None
            paused = pool.submit(pause, engine)
            wait_for(lambda: factory.scalar(waiting) == 1, "the pause to wait", poll_s=0.02)
            assert pauses.current_pause(planner) is None
        assert paused.result(30)[1]


@pytest.mark.parametrize("reason", ["a\nb", "a\0b", "tab\tbed", "x" * 301, "half \udce4"])
def test_a_reason_is_one_line_of_text(engine: Engine, reason: str) -> None:
    with pytest.raises(SettingError, match="is not allowed: one line of text, at most 300 characters"):
        pause(engine, reason=reason)


def test_the_words_leave_out_a_reason_that_nobody_gave() -> None:
    moment = datetime(2026, 1, 31, 12, 5, tzinfo=UTC)
    assert Pause(moment, "cli ada", None).in_words == "paused since 2026-01-31 12:05 UTC by cli ada"
    assert Pause(moment, "cli ada", "disks").in_words == "paused since 2026-01-31 12:05 UTC by cli ada: disks"
