"""The admin API: triggers are written down once, followed to their end, and stopped."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import sqlalchemy as sa

from heimdall_assets.db import discovery, requests, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.tables import feature_requests
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.web.tasks import PREFIX
from heimdall_assets_tests.factory import TRUNCATED

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory
    from heimdall_assets_tests.web.client import Client

BATCH = f"{PREFIX}/batch-extract"
BACKFILL = f"{PREFIX}/backfill-all"
TASKS = f"{PREFIX}/tasks"
COUNTS = ("total_found", "tasks_queued", "done", "failed", "remaining", "num_batches")


def selections(engine: Engine) -> list[dict[str, object]]:
    """What was asked for, in order."""
    with transaction(engine) as connection:
        return list(connection.scalars(sa.select(feature_requests.c.selection).order_by(feature_requests.c.created_at)))


def test_the_celery_scripts_batch_trigger_is_answered_as_before(api: Client, engine: Engine) -> None:
    answer = api.post(BATCH, {"batch_size": 10, "max_batches": 2})
    assert answer.status == 200
    assert set(answer.document) == {"task_id", "message", "status"}
    assert answer.document["status"] == "queued"
    assert answer.document["message"] == "Batch extraction started (batch_size=10, max_batches=2)"
    assert uuid.UUID(answer.document["task_id"])
    [selection] = selections(engine)
    assert (selection["pending"], selection["limit"], selection["batch_size"]) == (True, 20, 10)


def test_a_trigger_takes_its_figures_from_the_body_the_query_or_the_settings(api: Client, engine: Engine) -> None:
    query = f"{BATCH}?batch_size=7&max_batches=3"
    asked: dict[tuple[int | None, int | None], tuple[str, object]] = {
        (250, 50): (BATCH, {}),  # the defaults of the settings
        (21, 7): (query, None),
        (6, 2): (query, {"batch_size": 2}),  # the body wins
        (None, 4): (BATCH, {"batch_size": 4, "max_batches": None}),  # null: no limit
        (None, None): (BACKFILL, None),
    }
    for path, document in asked.values():
        assert api.post(path, document).status == 200
    assert [(found["limit"], found["batch_size"]) for found in selections(engine)] == list(asked)
    assert api.post(BATCH).status == 200  # no body at all: the first again
    assert len(selections(engine)) == len(asked)


def test_the_same_trigger_joins_the_one_that_is_open_and_another_does_not(api: Client, engine: Engine) -> None:
    first = api.post(BACKFILL).document
    assert first["message"] == "Full backfill started - this may take hours"
    again = api.post(BACKFILL).document
    assert again["task_id"] == first["task_id"]
    assert again["status"] == "queued"
    assert "already under way" in again["message"]
    assert api.post(BATCH).document["task_id"] != first["task_id"]
    assert api.ask("DELETE", f"{TASKS}/{first['task_id']}").status == 200
    assert api.post(BACKFILL).document["task_id"] != first["task_id"]
    assert len(selections(engine)) == 3


def test_many_identical_triggers_at_once_are_one_request(api: Client, engine: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.post(BATCH, {"batch_size": 3, "max_batches": 1}), range(16)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.document["task_id"] for answer in answers}) == 1
    assert len(selections(engine)) == 1


def test_a_dry_run_counts_what_is_pending_and_writes_nothing(
    api: Client, factory: SessionFactory, engine: Engine
) -> None:
    factory.add_many(3)
    assert api.post(f"{BACKFILL}?dry_run=true").document == {"planned": 3}
    assert selections(engine) == []


def test_a_task_is_followed_to_its_end_where_done_and_failed_are_all_that_was_found(
    api: Client, factory: SessionFactory, engine: Engine, settings: Settings
) -> None:
    good = factory.add_many(2)
    bad = factory.add([TRUNCATED])
    task = api.post(BACKFILL).document["task_id"]
    state = api.get(f"{TASKS}/{task}").document
    assert (state["task_id"], state["state"], state["status"]) == (task, "queued", "queued")
    assert state["eta_seconds"] is None
    with transaction(engine) as connection:
        discovery.discover(connection)
        requests.take_in(connection, feature_version=FEATURE_VERSION)
        work.reserve(connection, f"request-{uuid.uuid4()}", [*good, bad])
        requests.note_queued(connection)
    state = api.get(f"{TASKS}/{task}").document
    assert [state[name] for name in COUNTS] == [3, 3, 0, 0, 3, 1]
    extract_session(engine, good[0], settings)
    with transaction(engine) as connection:
        requests.settle(connection, feature_version=FEATURE_VERSION)
    state = api.get(f"{TASKS}/{task}").document
    assert [state[name] for name in COUNTS] == [3, 3, 1, 0, 2, 1]
    assert state["eta_seconds"] > 0
    for key in (good[1], bad):
        extract_session(engine, key, settings)
    with transaction(engine) as connection:
        requests.settle(connection, feature_version=FEATURE_VERSION)
    state = api.get(f"{TASKS}/{task}").document
    assert (state["state"], state["done"], state["failed"], state["remaining"]) == ("done", 2, 1, 0)
    answer = api.ask("DELETE", f"{TASKS}/{task}")
    assert answer.status == 409
    assert task in answer.document["detail"]


def test_a_task_is_stopped_and_stopping_it_twice_changes_nothing(api: Client) -> None:
    task = api.post(BACKFILL).document["task_id"]
    for _ in range(2):
        answer = api.ask("DELETE", f"{TASKS}/{task}")
        assert (answer.status, answer.document["state"], answer.document["remaining"]) == (200, "cancelled", 0)
    assert api.get(f"{TASKS}/{task}").document["state"] == "cancelled"


def test_an_unknown_task_is_404(api: Client) -> None:
    for method in ("GET", "DELETE"):
        answer = api.ask(method, f"{TASKS}/{uuid.UUID(int=1)}")
        assert answer.status == 404
        assert answer.document == {"detail": f"there is no request {uuid.UUID(int=1)}"}


BAD: tuple[tuple[str, object, str], ...] = (
    (BATCH, {"batch_size": 0}, r"batch_size=0 is not allowed: .*greater than or equal to 1"),
    (BATCH, {"batch_size": 1001}, r"batch_size=1001 is not allowed: .*less than or equal to 1000"),
    (BATCH, {"max_batches": -1}, r"max_batches=-1 is not allowed: .*greater than or equal to 1"),
    (BATCH, {"max_batches": 10**7}, r"max_batches=10000000 is not allowed: .*less than or equal to 1000000"),
    (BATCH, {"batch_size": "ten"}, r"batch_size='ten' is not allowed: .*integer"),
    (BATCH, {"batch_size": True}, r"batch_size=True is not allowed: .*integer"),
    (BATCH, {"max_batches": 1.5}, r"max_batches=1.5 is not allowed: .*integer"),
    (BATCH, {"batchsize": 3}, r"batchsize=3 is not allowed: Extra inputs"),
    (f"{BATCH}?batch_size=x", None, r"batch_size='x' is not allowed: .*integer"),
    (f"{BATCH}?max_batches=0", None, r"max_batches='0' is not allowed: .*greater than or equal to 1"),
    (f"{BACKFILL}?dryrun=true", None, r"the query parameter 'dryrun' is not known: allowed are dry_run"),
    (f"{BACKFILL}?dry_run=maybe", None, r"dry_run='maybe' is not allowed: .*boolean"),
)


def test_a_bad_value_is_422_and_names_field_value_and_bounds(api: Client, engine: Engine) -> None:
    for path, document, said in BAD:
        answer = api.post(path, document)
        assert answer.status == 422
        assert re.match(said, answer.document["detail"])
    assert selections(engine) == []


def test_a_bad_task_id_and_a_bad_body_are_422_and_a_long_value_is_not_repeated(api: Client) -> None:
    assert "task_id='x' is not allowed" in api.get(f"{TASKS}/x").document["detail"]
    answer = api.ask("POST", BATCH, body=b"{", Content_Type="application/json")
    assert (answer.status, list(answer.document)) == (422, ["detail"])
    answer = api.post(BATCH, {"batch_size": "9" * 5000})
    assert answer.status == 422
    assert len(answer.document["detail"]) < 300


def test_a_body_that_is_too_large_is_413_announced_or_not(api: Client, engine: Engine) -> None:
    answer = api.ask("POST", BATCH, body=b" " * 70_000, Content_Type="application/json")
    assert (answer.status, answer.document) == (413, {"detail": "the body is larger than 65536 bytes"})
    chunks = b"".join(b"1000\r\n" + b" " * 0x1000 + b"\r\n" for _ in range(20)) + b"0\r\n\r\n"
    answer = api.ask("POST", BATCH, body=chunks, Content_Type="application/json", Transfer_Encoding="chunked")
    assert (answer.status, answer.document) == (413, {"detail": "the body is larger than 65536 bytes"})
    assert selections(engine) == []
