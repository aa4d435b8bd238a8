"""A run's way through its sessions: each once, several at a time, and none takes another with it."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from heimdall_assets.db.engine import open_engine
from heimdall_assets.db.locks import session_lock
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.defs.partitions import session_id_of
from heimdall_assets.defs.walk import Finished, walk_sessions
from heimdall_assets.errors import DatabaseUnavailable, UnknownSession
from heimdall_assets.extraction import Outcome, Places
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.factory import GOOD, TRUNCATED
from heimdall_assets_tests.object_store import ENVIRONMENT, moody

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory


def walk(engine: Engine, keys: Sequence[object], settings: Settings, **options: Any) -> dict[str, Finished]:
    """Walk to the end; what became of each key."""
    texts = [str(key) for key in keys]
    batches = walk_sessions(engine, texts, settings, run_id="run", **{"recompute": False, **options})
    finished = [item for ended in batches for item in ended]
    assert sorted(item.partition_key for item in finished) == sorted(texts)
    return {item.partition_key: item for item in finished}


def test_every_session_is_yielded_once_with_its_outcome(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(6)
    factory.replace_file(ids[2], TRUNCATED)
    found = walk(engine, ids, settings)
    assert [found[str(key)].reason for key in ids] == [None, None, "truncated", None, None, None]
    outcomes = [found[str(key)].outcome for key in ids]
    assert [outcome is not None and outcome.has_features for outcome in outcomes] == [True] * 2 + [False] + [True] * 3
    runs = factory.rows("SELECT DISTINCT run_id FROM heimdall.feature_attempts")
    assert runs == [("run",)]


def test_keys_that_name_no_session_are_reasons_not_errors(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    good, nobody = factory.add(), uuid.uuid4()
    found = walk(engine, ["session-1", nobody, good], settings)
    assert found["session-1"] == Finished("session-1", None, "unknown_session", "'session-1' is not a session's UUID")
    assert found[str(nobody)].reason == "unknown_session"
    assert found[str(good)].reason is None


def test_a_session_that_another_run_holds_for_too_long_is_busy_and_the_walk_goes_on(
    engine: Engine, factory: SessionFactory, settings: Settings
) -> None:
    ids = factory.add_many(3)
    with session_lock(engine, ids[0], timeout_seconds=5):
        found = walk(engine, ids, settings.model_copy(update={"lock_timeout_seconds": 0.1}))
    assert [found[str(key)].reason for key in ids] == ["session_busy", None, None]
    assert f"session {ids[0]} is being worked on elsewhere" in (found[str(ids[0])].message or "")


def test_no_keys_are_no_work(engine: Engine, settings: Settings) -> None:
    assert walk(engine, [], settings) == {}


def test_a_database_that_is_away_ends_the_walk_at_once(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    keys = [str(uuid.uuid4()) for _ in range(200)]
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL is not available"):
        list(walk_sessions(open_engine(heimdall_url(nowhere)), keys, nowhere, run_id="run", recompute=False))
    assert time.monotonic() - started < 5


def outcome_of(session_id: uuid.UUID) -> Outcome:
    return Outcome(session_id, True, True, {})


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_sessions_as_there_are_workers_are_begun_at_a_time_while_none_waits(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    lock, under_way, most = threading.Lock(), 0, 0

    def slow(_engine: Engine, session_id: uuid.UUID, _settings: Settings, *, places: Places, **_: Any) -> Outcome:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        with places:
            time.sleep(0.02)
        with lock:
            under_way -= 1
        return outcome_of(session_id)

    monkeypatch.setattr("heimdall_assets.defs.walk.extract_session", slow)
    walk(engine, [uuid.uuid4() for _ in range(12)], settings.model_copy(update={"workers": workers}))
    assert most == workers


@pytest.fixture
def one_worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with which one session is computed at a time, and S3's credentials."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return settings.model_copy(update={"workers": 1, "store_retry_seconds": 0.0})


def test_others_are_computed_while_sessions_wait_for_a_store(
    engine: Engine, factory: SessionFactory, one_worker: Settings
) -> None:
    slow = factory.add_many(one_worker.sessions_under_way - 1, ("s3://moody/rx.npy",) * 2)
    others = factory.add_many(5)
    with moody((factory.root / GOOD).read_bytes()) as server, ThreadPoolExecutor(1) as pool:
        there = one_worker.model_copy(update={"s3_endpoint_url": server.endpoint, "iq_extra_roots": ("s3://moody",)})
        server.may_answer.clear()
        walked = pool.submit(walk, engine, [*slow, *others], there)
        done = "SELECT recording_session_id FROM heimdall.measurement_features"
        wait_for(lambda: {row[0] for row in factory.rows(done)} == set(others), "the others")
        server.may_answer.set()
        found = walked.result(timeout=60)
    assert all(item.reason is None for item in found.values())


def test_a_session_that_another_run_holds_keeps_no_worker_waiting(
    engine: Engine, factory: SessionFactory, one_worker: Settings
) -> None:
    """Two runs with one worker each would otherwise wait for each other's sessions while those wait for a worker."""
    held, *others = factory.add_many(4)
    with ThreadPoolExecutor(1) as pool:
        with session_lock(engine, held, timeout_seconds=5):
            walked = pool.submit(walk, engine, [held, *others], one_worker)
            done = "SELECT count(*) FROM heimdall.measurement_features"
            wait_for(lambda: factory.scalar(done) == len(others), "the others")
        found = walked.result(timeout=60)
    assert all(item.reason is None for item in found.values())
    assert factory.scalar(done) == 4


def test_a_defect_in_one_session_is_its_own_failure(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [uuid.uuid4() for _ in range(4)]

    def broken(_engine: Engine, session_id: uuid.UUID, _settings: Settings, **_: Any) -> Outcome:
        if session_id == ids[1]:
            raise ZeroDivisionError("a defect")
        return outcome_of(session_id)

    monkeypatch.setattr("heimdall_assets.defs.walk.extract_session", broken)
    found = walk(engine, ids, settings)
    assert [found[str(key)].reason for key in ids] == [None, "unexpected", None, None]
    assert found[str(ids[1])].message == "ZeroDivisionError: a defect"


def test_a_walk_that_is_left_begins_nothing_more(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[uuid.UUID] = []

    def noting(_engine: Engine, session_id: uuid.UUID, _settings: Settings, **_: Any) -> Outcome:
        begun.append(session_id)
        return outcome_of(session_id)

    monkeypatch.setattr("heimdall_assets.defs.walk.extract_session", noting)
    keys = [str(uuid.uuid4()) for _ in range(50)]
    finished = walk_sessions(engine, keys, settings, run_id="run", recompute=False)
    ended = next(finished)
    finished.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(begun) <= len(ended) + settings.sessions_under_way


def test_the_options_reach_the_extraction(engine: Engine, factory: SessionFactory, settings: Settings) -> None:
    session_id = factory.add((GOOD,))
    for _ in range(2):
        walk(engine, [session_id], settings)
    walk(engine, [session_id], settings, recompute=True)
    walk(engine, [session_id], settings, stale=True)
    assert factory.scalar("SELECT count(*) FROM heimdall.feature_attempts") == 2


def test_a_partition_key_is_the_sessions_uuid() -> None:
    session_id = uuid.uuid4()
    assert session_id_of(str(session_id)) == session_id
    with pytest.raises(UnknownSession, match="'2024-01-01' is not a session's UUID"):
        session_id_of("2024-01-01")
