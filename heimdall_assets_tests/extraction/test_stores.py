"""Sessions whose recordings lie in an object store: what is stored of them, outages, and replaced objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import obstore
import pytest
import sqlalchemy as sa

from heimdall_assets.db.engine import transaction
from heimdall_assets.extraction import check_inputs, extract_session
from heimdall_assets.iq.buckets import forget_buckets
from heimdall_assets_tests.extraction.test_session import attempts_of, row_of, state_row
from heimdall_assets_tests.factory import GOOD, MISSING, TRUNCATED, SessionFactory
from heimdall_assets_tests.object_store import ENVIRONMENT, SECRET_ACCESS_KEY, SESSION_TOKEN, moody, refused

if TYPE_CHECKING:
    from obstore.store import S3Store
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.object_store import ObjectStore


@pytest.fixture
def remote(factory: SessionFactory, settings: Settings, object_store: ObjectStore, bucket: str) -> Settings:
    """Settings with the factory's files in a bucket."""
    factory.write_files()
    object_store.upload(bucket, factory.root, "iq/")
    return settings.model_copy(
        update={
            "iq_root": f"s3://{bucket}/iq",
            "s3_endpoint_url": object_store.endpoint,
            "store_retry_seconds": 0.0,
        }
    )


def test_a_session_over_s3_is_stored_with_size_and_etag_of_its_objects(
    engine: Engine, factory: SessionFactory, remote: Settings, client: S3Store
) -> None:
    key = factory.add((GOOD, TRUNCATED, MISSING))
    outcome = extract_session(engine, key, remote)
    assert (outcome.has_features, outcome.summary["receivers"]) == (True, "1 of 3")
    row = row_of(factory, key)
    stored = {entry["iq_data_location"]: entry for entry in row["extraction_metadata"]["receivers"].values()}
    facts = obstore.head(client, f"iq/{GOOD}")
    assert stored[GOOD]["size"] == facts["size"]
    assert stored[GOOD]["etag"] == f"{(facts['e_tag'] or '').strip(chr(34))}-{facts['size']}"
    errors = [receiver["error"] for receiver in row["receiver_features"] if "error" in receiver]
    assert len(errors) == 2
    assert attempts_of(factory, key) == [(1, "partial", None, True)]


def test_a_session_costs_one_request_a_receiver(
    engine: Engine, factory: SessionFactory, settings: Settings, object_store: ObjectStore
) -> None:
    key = factory.add((GOOD,) * 3)
    with moody((factory.root / GOOD).read_bytes()) as server:
        there = settings.model_copy(update={"iq_root": "s3://moody", "s3_endpoint_url": server.endpoint})
        assert extract_session(engine, key, there).summary["receivers"] == "3 of 3"
    assert [request.split()[:2] for request in server.requests] == [["GET", f"/moody/{GOOD}"]] * 3


def test_an_object_that_is_replaced_or_comes_late_makes_its_session_wait_again(
    engine: Engine, factory: SessionFactory, remote: Settings, client: S3Store
) -> None:
    key = factory.add((GOOD, "late.npy"))
    assert extract_session(engine, key, remote).computed
    assert check_inputs(engine, remote) == []
    obstore.put(client, "iq/late.npy", (factory.root / GOOD).read_bytes())
    assert check_inputs(engine, remote) == [key]
    assert extract_session(engine, key, remote).summary["receivers"] == "2 of 2"
    assert check_inputs(engine, remote) == []
    other = (factory.root / GOOD).read_bytes()
    obstore.put(client, f"iq/{GOOD}", other[:-8] + other[-16:-8])
    assert check_inputs(engine, remote) == [key]
    assert state_row(factory, key)["state"] == "pending"
    assert extract_session(engine, key, remote).computed
    assert row_of(factory, key)["recording_session_id"] == key


def test_a_store_that_is_away_costs_an_attempt_and_nothing_else(
    engine: Engine, factory: SessionFactory, remote: Settings
) -> None:
    done, waiting = factory.add_many(2)
    assert extract_session(engine, done, remote).computed
    with moody((503, refused("ServiceUnavailable"))) as server:
        away = remote.model_copy(update={"s3_endpoint_url": server.endpoint})
        outcome = extract_session(engine, waiting, away)
        assert (outcome.has_features, outcome.reason) == (False, "store_unavailable")
        assert check_inputs(engine, away) == []
    assert state_row(factory, waiting)["state"] == "failed"
    assert state_row(factory, waiting)["next_attempt_at"] is not None
    # What could not be looked at is not taken for something else when the store is back.
    assert state_row(factory, done)["state"] == "done"
    assert done not in check_inputs(engine, remote)
    assert extract_session(engine, waiting, remote).computed
    assert [row[1] for row in attempts_of(factory, waiting)] == ["failed", "done"]


def test_nothing_is_noted_of_a_session_whose_objects_cannot_be_looked_for(
    engine: Engine, factory: SessionFactory, remote: Settings
) -> None:
    key = factory.add()
    assert extract_session(engine, key, remote).computed
    with transaction(engine) as connection:
        connection.execute(sa.text("UPDATE heimdall.feature_states SET inputs_tried = NULL"))
    with moody((503, "")) as server:
        assert check_inputs(engine, remote.model_copy(update={"s3_endpoint_url": server.endpoint})) == []
    assert state_row(factory, key)["inputs_tried"] is None
    assert check_inputs(engine, remote) == []
    assert state_row(factory, key)["inputs_tried"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((403, refused("AccessDenied", f"Not with {SESSION_TOKEN}")), "access_denied"),
        ((403, refused("SignatureDoesNotMatch", SECRET_ACCESS_KEY, Token=SESSION_TOKEN)), "credentials_refused"),
        ((404, refused("NoSuchBucket")), "no_such_bucket"),
    ],
)
def test_a_refusal_is_tried_again_and_no_table_holds_a_credential(
    engine: Engine,
    factory: SessionFactory,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[int, str],
    reason: str,
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    forget_buckets()
    key = factory.add()
    with moody(answer) as server:
        refusing = settings.model_copy(update={"iq_root": "s3://moody", "s3_endpoint_url": server.endpoint})
        assert extract_session(engine, key, refusing).reason == reason
    assert state_row(factory, key)["state"] == "failed"
    assert state_row(factory, key)["next_attempt_at"] is not None
    tables = ("feature_states", "feature_attempts", "measurement_features")
    told = "\n".join(str(factory.rows(f"SELECT t::text FROM heimdall.{table} t")) for table in tables)
    assert reason in told
    assert SECRET_ACCESS_KEY not in told
    assert SESSION_TOKEN not in told
