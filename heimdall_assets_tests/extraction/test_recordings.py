"""Recordings of a session: in which order, how many at a time, and what becomes of those that cannot be read."""

from __future__ import annotations

import math
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import obstore
import pytest

from heimdall_assets.errors import BadParameter, RecordingNotFound
from heimdall_assets.extraction.places import Places
from heimdall_assets.extraction.recordings import AHEAD, LARGEST_AHEAD_BYTES, Recordings, read_recording
from heimdall_assets.iq.buckets import forget_buckets
from heimdall_assets.records import Measurement, Station
from heimdall_assets.settings import load_settings
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.object_store import ENVIRONMENT, MoodyServer, moody

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from obstore.store import S3Store

    from heimdall_assets.settings import Settings

RATE_HZ = 10_000
NUM_SAMPLES = RATE_HZ


def samples(seed: int) -> NDArray[np.complex64]:
    """One second of noise."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(2 * NUM_SAMPLES).astype(np.float32).view(np.complex64)


def measurement(location: str, rate_hz: float | None = RATE_HZ) -> Measurement:
    """A measurement with a recording at a place."""
    return Measurement(
        id=uuid.uuid4(),
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        station=Station(location, 50.0, 10.0),
        frequency_hz=100_000_000,
        iq_data_location=location,
        iq_data_format="cf32",
        iq_sample_rate_hz=rate_hz,
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MoodyServer]:
    """A store in which every object is the same recording."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    forget_buckets()
    with moody(samples(1).tobytes()) as running:
        yield running


def settings_of(server: MoodyServer) -> Settings:
    """Settings with that store."""
    return load_settings(s3_endpoint_url=server.endpoint, iq_root="s3://moody", store_retry_seconds=0.0)


def asked(server: MoodyServer) -> set[str]:
    """Names of the objects that were asked for."""
    return {request.split()[1].rpartition("/")[2] for request in server.requests}


def test_some_recordings_of_a_store_are_asked_for_at_the_same_time(server: MoodyServer) -> None:
    session = [measurement(f"rx{number}.cf32") for number in range(AHEAD + 3)]
    server.may_answer.clear()
    with Recordings(session, settings_of(server)) as recordings, ThreadPoolExecutor(1) as pool:
        first = pool.submit(recordings.read, session[0])
        # None is answered before all of these are asked for: one after the other they would never be.
        wait_for(lambda: len(server.requests) >= AHEAD, "as many requests", poll_s=0.01)
        assert asked(server) == {f"rx{number}.cf32" for number in range(AHEAD)}
        server.may_answer.set()
        assert first.result().samples.tobytes() == samples(1).tobytes()
        for number in range(1, len(session)):
            assert recordings.read(session[number]).identity.measurement_id == session[number].id
            assert asked(server) <= {f"rx{n}.cf32" for n in range(number + AHEAD)}
    assert len(server.requests) == len(session)


def test_each_measurement_has_the_samples_of_its_own_recording(client: S3Store, bucket: str) -> None:
    session = [measurement(f"rx{number}.cf32") for number in range(3 * AHEAD)]
    for number, each in enumerate(session):
        obstore.put(client, each.iq_data_location or "", samples(number).tobytes())
    noted: dict[str, tuple[int, str]] = {}
    with Recordings(session, load_settings(iq_root=f"s3://{bucket}"), noted) as recordings:
        for number, each in enumerate(session):
            recording = recordings.read(each)
            assert recording.samples.tobytes() == samples(number).tobytes()
            assert recording.identity.measurement_id == each.id
            assert noted[each.iq_data_location or ""] == (recording.identity.size_bytes, recording.identity.etag)


def test_a_recording_that_is_missing_is_reported_in_its_turn(client: S3Store, bucket: str) -> None:
    session = [measurement(f"rx{number}.cf32") for number in range(3)]
    for number in (0, 2):
        obstore.put(client, f"rx{number}.cf32", samples(number).tobytes())
    with Recordings(session, load_settings(iq_root=f"s3://{bucket}")) as recordings:
        assert len(recordings.read(session[0]).samples) == NUM_SAMPLES
        with pytest.raises(RecordingNotFound, match=r"rx1\.cf32"):
            recordings.read(session[1])
        assert len(recordings.read(session[2]).samples) == NUM_SAMPLES


def test_recordings_may_be_read_in_another_order_and_again(client: S3Store, bucket: str) -> None:
    session = [measurement(f"rx{number}.cf32") for number in range(AHEAD + 2)]
    other = measurement("other.cf32")
    for number, each in enumerate([*session, other]):
        obstore.put(client, each.iq_data_location or "", samples(number).tobytes())
    with Recordings(session, load_settings(iq_root=f"s3://{bucket}")) as recordings:
        for number, each in reversed(list(enumerate([*session, other]))):
            assert recordings.read(each).samples.tobytes() == samples(number).tobytes()
        assert recordings.read(session[1]).samples.tobytes() == samples(1).tobytes()


@pytest.mark.parametrize("rate_hz", [RATE_HZ, None], ids=["asked for ahead", "of unknown rate"])
def test_a_place_is_left_to_others_while_a_store_is_waited_for(server: MoodyServer, rate_hz: float | None) -> None:
    places, recording = Places(1), measurement("rx.cf32", rate_hz)
    settings = settings_of(server).model_copy(update={"default_sample_rate_hz": RATE_HZ})
    server.may_answer.clear()

    def read() -> bytes:
        with places, Recordings([recording], settings, places=places) as recordings:
            return recordings.read(recording).samples.tobytes()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read)
        wait_for(lambda: server.requests, "the request", poll_s=0.01)
        with places:
            server.may_answer.set()
        assert waiting.result(timeout=60) == samples(1).tobytes()


def test_the_place_is_kept_where_nothing_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "rx.cf32").write_bytes(samples(1).tobytes())
    places, recording = Places(1), measurement("rx.cf32")
    with ThreadPoolExecutor(1) as pool:
        with places, Recordings([recording], load_settings(iq_root=str(tmp_path)), places=places) as recordings:
            other = pool.submit(places.__enter__)
            assert recordings.read(recording).samples.tobytes() == samples(1).tobytes()
            assert not other.done()
        other.result(timeout=60)


def test_what_was_not_begun_is_not_asked_for_any_more(server: MoodyServer) -> None:
    session = [measurement(f"rx{number}.cf32") for number in range(3 * AHEAD)]
    server.may_answer.clear()
    one_at_a_time = settings_of(server).model_copy(update={"store_connections": 1})
    with ThreadPoolExecutor(1) as pool:
        with Recordings(session, one_at_a_time) as recordings:
            first = pool.submit(recordings.read, session[0])
            wait_for(lambda: server.requests and len(recordings._coming) == AHEAD - 1, "the requests", poll_s=0.01)
        server.may_answer.set()
        assert first.result().identity.measurement_id == session[0].id
    read_recording(session[1], one_at_a_time)  # comes after whatever was still to be asked for
    assert asked(server) == {"rx0.cf32", "rx1.cf32"}
    assert len(server.requests) == 2


@pytest.mark.parametrize("rate_hz", [None, LARGEST_AHEAD_BYTES / 8 + 1], ids=["unknown size", "large"])
def test_what_may_be_large_is_read_in_its_turn(server: MoodyServer, rate_hz: float | None) -> None:
    session = [measurement(f"rx{number}.cf32", rate_hz) for number in range(3)]
    with Recordings(session, settings_of(server)) as recordings:
        assert recordings.read(session[0]).samples.tobytes() == samples(1).tobytes()
    read_recording(session[0], settings_of(server))  # comes after whatever was still to be asked for
    assert asked(server) == {"rx0.cf32"}


@pytest.mark.parametrize("rate_hz", [math.nan, math.inf, -1.0])
def test_a_sample_rate_that_is_none_is_refused_and_hinders_no_other(
    client: S3Store, bucket: str, rate_hz: float
) -> None:
    obstore.put(client, "rx.cf32", samples(0).tobytes())
    wrong, right = measurement("rx.cf32", rate_hz), measurement("rx.cf32")
    with Recordings([wrong, right], load_settings(iq_root=f"s3://{bucket}")) as recordings:
        with pytest.raises(BadParameter, match="sample_rate_hz"):
            recordings.read(wrong)
        assert recordings.read(right).samples.tobytes() == samples(0).tobytes()


def test_files_are_read_in_their_turn(tmp_path: Path) -> None:
    (tmp_path / "rx0.cf32").write_bytes(samples(0).tobytes())
    settings = load_settings(iq_root=str(tmp_path))
    session = [measurement(name) for name in ("rx0.cf32", "rx1.cf32", "../refused.cf32", "http://elsewhere/rx.cf32")]
    with Recordings(session, settings) as recordings:
        assert recordings.read(session[0])[1:] == read_recording(session[0], settings)[1:]
        (tmp_path / "rx1.cf32").write_bytes(samples(1).tobytes())
        assert recordings.read(session[1]).samples.tobytes() == samples(1).tobytes()
