"""Registering recordings that lie in an object store, and bringing recordings into one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import pytest

from heimdall_assets.extraction import extract_session
from heimdall_assets.ingest import ingest
from heimdall_assets.iq import open_location
from heimdall_assets_tests.iq.builders import components
from heimdall_assets_tests.iq.specimens import SPECIMENS, placed
from heimdall_assets_tests.test_ingest import counts, error_of, files, only, write_folder, write_npy

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory
    from heimdall_assets_tests.object_store import ObjectStore


@pytest.fixture
def local(settings: Settings, object_store: ObjectStore) -> Settings:
    """Settings whose root is a folder."""
    return settings.model_copy(update={"s3_endpoint_url": object_store.endpoint})


@pytest.fixture
def remote(local: Settings, bucket: str) -> Settings:
    """Settings whose root is a folder in the bucket."""
    return local.model_copy(update={"iq_root": f"s3://{bucket}/root"})


def bucket_keys(object_store: ObjectStore, bucket: str) -> set[str]:
    """All objects of a bucket."""
    return {entry["path"] for page in obstore.list(object_store.bucket(bucket)) for entry in page}


def test_folders_in_a_bucket_are_a_session_each_and_the_same_as_on_disk(
    engine: Engine, factory: SessionFactory, local: Settings, object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    for seed, name in enumerate(("hill", "vale")):
        write_folder(tmp_path / "in" / name, seed=seed)
    object_store.upload(bucket, tmp_path / "in", "2024/")
    first, second = ingest([f"s3://{bucket}/2024"], engine, local)
    assert [result.path for result in (first, second)] == [f"s3://{bucket}/2024/{name}" for name in ("hill", "vale")]
    assert (first.is_new, first.num_measurements, second.is_new) == (True, 2, True)
    names = factory.rows("SELECT session_name FROM heimdall.recording_sessions ORDER BY 1")
    assert names == [("hill",), ("vale",)]
    assert first.session_id is not None
    assert extract_session(engine, first.session_id, local).summary["receivers"] == "2 of 2"
    before = counts(factory), files(factory.root)
    for again in (f"s3://{bucket}/2024/", f"s3://{bucket}/2024/hill/", tmp_path / "in"):
        assert not any(result.is_new for result in ingest([again], engine, local))
    assert (counts(factory), files(factory.root)) == before


def test_a_file_is_uploaded_to_a_root_in_a_bucket_whole_and_once(
    engine: Engine, factory: SessionFactory, remote: Settings, object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "hill")
    result = only(ingest([folder], engine, remote))
    assert result.is_new
    stored = bucket_keys(object_store, bucket)
    locations = {row[0] for row in factory.rows("SELECT iq_data_location FROM heimdall.measurements")}
    assert stored == {f"root/{location}" for location in locations}
    assert {Path(location).name for location in locations} == {"a.npy", "b.npy"}
    for location in locations:
        content = bytes(obstore.get(object_store.bucket(bucket), f"root/{location}").bytes())
        assert content == (folder / Path(location).name).read_bytes()
    assert result.session_id is not None
    outcome = extract_session(engine, result.session_id, remote)
    assert (outcome.has_features, outcome.summary["receivers"]) == (True, "2 of 2")
    assert not only(ingest([folder], engine, remote)).is_new
    assert bucket_keys(object_store, bucket) == stored


def test_pairs_archives_and_waves_are_uploaded_and_read_back_to_the_last_bit(
    engine: Engine, factory: SessionFactory, remote: Settings, tmp_path: Path
) -> None:
    for name in ("kiwi", "wav-auxi", "sigmf-ci8", "sigmf.gz"):
        specimen = next(each for each in SPECIMENS if each.name.startswith(name))
        (tmp_path / name).mkdir()
        result = only(ingest([placed(specimen, "path", tmp_path / name)], engine, remote))
        assert result.is_new
        ((location, word),) = factory.rows(
            "SELECT iq_data_location, iq_data_format FROM heimdall.measurements WHERE recording_session_id = :id",
            id=result.session_id,
        )
        with open_location(location, remote, format=word) as recording:
            assert recording.read(0, recording.num_samples).tobytes() == specimen.samples.tobytes()


def test_an_object_below_the_root_stays_where_it_is(
    engine: Engine, factory: SessionFactory, remote: Settings, object_store: ObjectStore, bucket: str
) -> None:
    obstore.put(object_store.bucket(bucket), "root/2024/rx.cf32", components(2000, "<f4").tobytes())
    assert only(ingest([f"s3://{bucket}/root/2024/rx.cf32"], engine, remote)).is_new
    assert factory.rows("SELECT iq_data_location FROM heimdall.measurements") == [("2024/rx.cf32",)]
    assert bucket_keys(object_store, bucket) == {"root/2024/rx.cf32"}


def test_an_object_of_another_bucket_is_copied_with_its_name_and_time(
    engine: Engine, factory: SessionFactory, remote: Settings, object_store: ObjectStore, bucket: str
) -> None:
    """A KiwiSDR file without a date in its name takes its week from the time of its file."""
    elsewhere = f"in-{bucket}"
    moment = datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)
    content = next(each for each in SPECIMENS if each.name == "kiwi").files
    client = object_store.make_bucket(elsewhere)
    obstore.put(client, "odd#name.wav", next(iter(content.values())), attributes={"mtime": str(moment.timestamp())})
    result = only(ingest([f"s3://{elsewhere}/odd#name.wav"], engine, remote))
    assert result.is_new
    ((location,),) = factory.rows("SELECT iq_data_location FROM heimdall.measurements")
    assert Path(location).name == "odd_name.wav"
    with open_location(location, remote) as recording:
        assert recording.start_time is not None
        assert recording.start_time.year == 2017


def test_what_cannot_be_registered_says_why_and_the_others_are(
    engine: Engine, factory: SessionFactory, local: Settings, object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    obstore.put(object_store.bucket(bucket), "empty/x.txt", b"x")
    wanted: list[Path | str] = [f"s3://{bucket}/gone.npy", f"s3://{bucket}/empty", f"s3://{bucket}/empty/x.txt", "s3://no-such-bucket/a",
              "s3://bu@cket/a", "https://example.org/a.npy", write_npy(tmp_path)]  # fmt: skip
    *refused, good = ingest(wanted, engine, local)
    assert good.is_new
    assert [error_of(each)[0] for each in refused] == [
        "not_found", "not_found", "unknown_format", "no_such_bucket", "location_refused", "location_refused"
    ]  # fmt: skip
    assert error_of(refused[0])[1] == f"s3://{bucket}/gone.npy does not exist"
    assert error_of(refused[1])[1] == f"s3://{bucket}/empty holds no stations.json"
    assert counts(factory)[2] == 1


def test_a_root_in_a_bucket_that_is_missing_leaves_nothing(
    engine: Engine, factory: SessionFactory, local: Settings, tmp_path: Path
) -> None:
    nowhere = local.model_copy(update={"iq_root": "s3://no-such-bucket"})
    reason, message = error_of(only(ingest([write_npy(tmp_path)], engine, nowhere)))
    assert (reason, "there is no such bucket" in message) == ("no_such_bucket", True)
    assert counts(factory) == [0, 0, 0, 0]
