"""Objects of S3 over real HTTP: every format, ranges, refusals, and stores that fail for a while."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import obstore
import pytest
from obstore.store import GCSStore

from heimdall_assets.errors import (
    AccessDenied,
    BucketMissing,
    CredentialsRefused,
    LocationRefused,
    RecordingError,
    RecordingNotFound,
    RecordingTooLarge,
    SettingError,
    StoreUnavailable,
    TruncatedRecording,
)
from heimdall_assets.iq import identify, open_iq, open_location
from heimdall_assets.iq.buckets import Bucket, Outage, bucket_of, forget_buckets
from heimdall_assets.iq.objects import ObjectFile, open_object
from heimdall_assets.settings import Settings, load_settings
from heimdall_assets_tests.dagster_api import wait_for
from heimdall_assets_tests.iq.builders import components
from heimdall_assets_tests.iq.specimens import COUNT, SPECIMENS, zipped
from heimdall_assets_tests.object_store import (
    ACCESS_KEY_ID,
    ENVIRONMENT,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    MoodyServer,
    ObjectStore,
    moody,
    refused,
)

if TYPE_CHECKING:
    from obstore.store import S3Store

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    forget_buckets()


def settings_of(server: MoodyServer, **more: object) -> Settings:
    """Settings with a server that fails, and little patience."""
    return load_settings(s3_endpoint_url=server.endpoint, iq_root="s3://moody", store_retry_seconds=0.0, **more)


def test_every_format_is_read_from_a_bucket(object_store: ObjectStore, bucket: str, client: S3Store) -> None:
    settings = load_settings(iq_root=f"s3://{bucket}/2025")
    for specimen in SPECIMENS:
        for name, content in specimen.files.items():
            obstore.put(client, f"2025/{specimen.name}/{name}", content)
        with open_location(f"{specimen.name}/{specimen.opened}", settings) as recording:
            assert (recording.format, recording.num_samples) == (specimen.format, len(specimen.samples))
            assert recording.read(0, 10 * COUNT).tobytes() == specimen.samples.tobytes(), specimen.name
            assert recording.read(100, 50).tobytes() == specimen.samples[100:150].tobytes(), specimen.name


def test_the_default_root_of_a_given_database_is_a_bucket(object_store: ObjectStore) -> None:
    client = object_store.make_bucket("heimdall-raw-iq")
    obstore.put(client, "a/rx.cf32", components(100, "<f4").tobytes())
    with open_location("a/rx.cf32", load_settings(database_url="postgresql://db/heimdall")) as recording:
        assert recording.num_samples == 100


def test_a_member_of_an_archive_in_a_bucket_is_read(client: S3Store, bucket: str) -> None:
    specimen = SPECIMENS[0]
    obstore.put(client, "all.zip", zipped({f"session/{name}": content for name, content in specimen.files.items()}))
    with open_iq(f"zip://session/{specimen.opened}::s3://{bucket}/all.zip") as recording:
        assert recording.read(0, COUNT).tobytes() == specimen.samples.tobytes()


def test_an_object_hands_out_exactly_the_bytes_of_a_range(client: S3Store, bucket: str) -> None:
    obstore.put(client, "a/rx.cf32", CONTENT)
    source = open_object(f"s3://{bucket}/a/rx.cf32", load_settings())
    assert (source.name, source.size_bytes) == ("rx.cf32", len(CONTENT))
    for offset, count in ((0, 0), (0, 100), (3, 10), (16_000, 1000), (50_000, 52_400), (len(CONTENT), 0)):
        assert source.read_at(offset, count) == CONTENT[offset : offset + count]
    for offset, count in ((-1, 4), (0, len(CONTENT) + 1), (10**30, 1), (0, -1)):
        with pytest.raises(TruncatedRecording, match=f"ends at byte {len(CONTENT)}"):
            source.read_at(offset, count)
    source.close()
    source.close()
    with pytest.raises(ValueError, match="is closed"):
        source.read_at(0, 1)


def test_samples_are_the_bytes_that_came_and_no_copy_of_them(client: S3Store, bucket: str) -> None:
    content = components(100_000, "<f4").tobytes()
    obstore.put(client, "rx.cf32", content)
    settings = load_settings(iq_root=f"s3://{bucket}")
    with open_location("rx.cf32", settings, ahead_bytes=len(content)) as recording:
        whole, part = (recording.read(start, 1_000, writable=False) for start in (0, 500))
        mine = recording.read(0, 1_000)
    assert np.shares_memory(whole, part)
    assert not np.shares_memory(whole, mine)
    assert (whole.flags.writeable, mine.flags.writeable) == (False, True)
    assert mine.tobytes() == whole.tobytes() == content[:8_000]


def test_an_empty_object_has_no_bytes(client: S3Store, bucket: str) -> None:
    obstore.put(client, "empty.cf32", b"")
    assert open_object(f"s3://{bucket}/empty.cf32", load_settings()).size_bytes == 0


def test_a_recording_costs_two_requests_and_only_the_bytes_that_are_needed(credentials: None) -> None:
    content = components(500_000, "<f4").tobytes()
    with moody(content) as server, open_location("rx.cf32", settings_of(server)) as recording:
        assert recording.read(0, 100_000).tobytes() == content[:800_000]
    assert server.requests == ["GET /moody/rx.cf32 bytes=0-16383", "GET /moody/rx.cf32 bytes=0-799999"]


def test_a_recording_of_a_known_rate_costs_one_request(credentials: None) -> None:
    content = components(500_000, "<f4").tobytes()
    with moody(content) as server:
        settings = settings_of(server)
        with open_location("rx.cf32", settings, ahead_bytes=800_000) as recording:
            assert recording.read(0, 100_000).tobytes() == content[:800_000]
        with open_location("rx.cf32", settings, ahead_bytes=10**12):
            pass
    assert server.requests == ["GET /moody/rx.cf32 bytes=0-816383", "GET /moody/rx.cf32 bytes=0-8404991"]


def test_a_store_that_breaks_off_amid_a_recording_is_asked_again(credentials: None) -> None:
    content = components(500_000, "<f4").tobytes()
    with moody(content, (500, ""), content) as server:
        settings = load_settings(s3_endpoint_url=server.endpoint, iq_root="s3://moody", store_retry_seconds=10.0)
        with open_location("rx.cf32", settings) as recording:
            assert recording.read(400_000, 10).tobytes() == content[3_200_000:3_200_080]
    assert len(server.requests) == 3


def test_the_etag_is_the_stores_own_and_changes_with_the_object(client: S3Store, bucket: str) -> None:
    settings = load_settings(iq_root=f"s3://{bucket}")
    obstore.put(client, "rx.cf32", components(100, "<f4").tobytes())
    with open_location("rx.cf32", settings) as recording:
        first = recording.size_bytes, recording.etag
    etag = (obstore.head(client, "rx.cf32")["e_tag"] or "").strip('"')
    assert first == (800, f"{etag}-800")
    assert identify("rx.cf32", settings) == first
    obstore.put(client, "rx.cf32", components(101, "<f4").tobytes())
    assert identify("rx.cf32", settings) not in {first, None}
    assert identify("gone.cf32", settings) is None


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed_with_the_new_one(
    client: S3Store, bucket: str
) -> None:
    obstore.put(client, "rx.cf32", CONTENT)
    source = open_object(f"s3://{bucket}/rx.cf32", load_settings())
    obstore.put(client, "rx.cf32", CONTENT[::-1])
    with pytest.raises(StoreUnavailable, match=r"rx\.cf32 was replaced while it was read"):
        source.read_at(20_000, 1000)
    obstore.put(client, "rx.cf32", CONTENT[:1000])
    with pytest.raises(TruncatedRecording, match="became shorter"):
        source.read_at(20_000, 1000)


def test_the_time_of_an_object_is_that_of_the_file_that_it_was_made_of(client: S3Store, bucket: str) -> None:
    moment = datetime(2017, 11, 27, 10, 41, 56, tzinfo=UTC)
    obstore.put(client, "rx.wav", CONTENT, attributes={"mtime": str(moment.timestamp())})
    assert open_object(f"s3://{bucket}/rx.wav", load_settings()).modified_at == moment
    obstore.put(client, "rx.wav", CONTENT, attributes={"mtime": "yesterday"})
    modified_at = open_object(f"s3://{bucket}/rx.wav", load_settings()).modified_at
    assert modified_at == obstore.head(client, "rx.wav")["last_modified"]


def test_google_and_azure_are_asked_and_answer_in_the_same_way(
    credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = (CONTENT, CONTENT, (404, refused("NoSuchKey", "Gone.\nTime:2026-11-25")), (403, refused("AccessDenied")))
    with moody(*answers) as google, moody(*answers) as azure:
        account = {"gcs_base_url": google.endpoint, "disable_oauth": True}
        account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        gs = GCSStore("iq", service_account_key=json.dumps(account), client_options={"allow_http": True})
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azure.endpoint)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "heimdall")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
        for bucket in (Bucket("gs", "iq", gs, 1), bucket_of("az://iq/rx.cf32", load_settings())[0]):
            source = ObjectFile(bucket, "rx.cf32")
            assert (source.size_bytes, source.etag) == (len(CONTENT), f"moody-{len(CONTENT)}")
            assert source.read_at(50_000, 3) == CONTENT[50_000:50_003]
            with pytest.raises(RecordingNotFound, match=rf"^{bucket.url}/rx\.cf32 does not exist$"):
                ObjectFile(bucket, "rx.cf32")
            with pytest.raises(AccessDenied, match=rf"^{bucket.url}/rx\.cf32 cannot be reached: access is denied"):
                ObjectFile(bucket, "rx.cf32")
        assert all(request.startswith("GET /iq/rx") for request in (*google.requests, *azure.requests))


class TestRefusals:
    def test_what_is_missing_is_told_apart(self, object_store: ObjectStore, bucket: str) -> None:
        with pytest.raises(RecordingNotFound, match=f"s3://{bucket}/a/gone.npy does not exist") as missing:
            open_location("a/gone.npy", load_settings(iq_root=f"s3://{bucket}"))
        assert type(missing.value) is RecordingNotFound
        with pytest.raises(BucketMissing, match=r"s3://no-such-bucket/rx\.npy cannot be reached: there is no such b"):
            open_location("rx.npy", load_settings(iq_root="s3://no-such-bucket"))

    def test_large_objects_and_siblings_are_refused(self, client: S3Store, bucket: str) -> None:
        obstore.put(client, "a/rx.cf32", CONTENT)
        obstore.put(client, "a/small", b"12")
        url = f"s3://{bucket}/a/small"
        with pytest.raises(RecordingTooLarge, match=r"a/rx\.cf32 has 102,400 bytes; at most 1,000"):
            open_object(url, load_settings(), 1000).sibling("rx.cf32")

    @pytest.mark.parametrize(
        ("answer", "kind", "why"),
        [
            (
                (403, refused("AccessDenied", "Not you.")),
                AccessDenied,
                r"access is denied \(403 AccessDenied: Not you\)",
            ),
            ((403, ""), AccessDenied, r"access is denied \(403\)"),
            ((403, refused("InvalidAccessKeyId")), CredentialsRefused, r"are refused \(403 InvalidAccessKeyId\)"),
            ((403, refused("SignatureDoesNotMatch")), CredentialsRefused, "the credentials are refused"),
            ((400, refused("ExpiredToken", "Old.")), CredentialsRefused, r"\(400 ExpiredToken: Old\)"),
            ((401, ""), CredentialsRefused, r"the credentials are refused \(401\)"),
            ((404, refused("NoSuchBucket")), BucketMissing, "there is no such bucket"),
            ((404, refused("NoSuchKey")), RecordingNotFound, "does not exist"),
            ((503, refused("SlowDown", "Reduce")), StoreUnavailable, "the store answers 503 SlowDown: Reduce"),
            ((400, refused("AuthorizationHeaderMalformed", "the region 'a' is wrong")), StoreUnavailable, "region"),
            ((301, refused("PermanentRedirect")), StoreUnavailable, "incorrectly configured region"),
            ((200, "all of it"), StoreUnavailable, "non-partial response"),
        ],
    )
    def test_what_a_store_answers_is_the_projects_error(
        self, credentials: None, answer: tuple[int, str], kind: type[RecordingError], why: str
    ) -> None:
        with moody(answer) as server, pytest.raises(kind, match=rf"^s3://moody/rx\.npy .*{why}") as caught:
            open_location("rx.npy", settings_of(server))
        assert type(caught.value) is kind
        assert caught.value.transient

    def test_a_store_that_does_not_answer_is_unavailable(self, credentials: None) -> None:
        with moody((200, "")) as server:
            server.may_answer.clear()
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                open_location("rx.npy", settings_of(server, store_timeout_seconds=0.2))
        with pytest.raises(StoreUnavailable, match="does not answer: Connection refused"):
            open_location("rx.npy", settings_of(server))

    def test_without_credentials_that_is_what_the_error_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ENVIRONMENT:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
        forget_buckets()
        with moody((200, "")) as server, pytest.raises(CredentialsRefused, match="there are no credentials"):
            open_location("rx.npy", settings_of(server))
        assert server.requests == []

    @pytest.mark.parametrize(
        "url",
        ["s3://me:secret@bucket/rx.npy", "s3:///rx.npy", "s3://b/rx.npy", "s3://127.0.0.1:80/rx.npy", "s3://a..b/rx",
         "s3://bucket?x=1/rx.npy", "s3://-bucket/rx.npy", "s3://bucket/a//rx.npy", "s3://bucket/../rx.npy",
         "s3://bucket", "s3://bucket/folder/"],
    )  # fmt: skip
    def test_a_url_is_a_bucket_and_a_key_and_nothing_else(self, credentials: None, url: str) -> None:
        with moody((500, "")) as server, pytest.raises(LocationRefused) as caught:
            open_object(url, settings_of(server))
        assert server.requests == []
        assert "secret" not in caught.value.message

    def test_a_location_reaches_no_other_bucket_and_no_other_host(self, credentials: None) -> None:
        with moody((500, "")) as server:
            for location in (
                "s3://other/rx.npy", "s3://moody@other/rx.npy", "gs://moody/rx.npy", "az://moody/rx.npy",
                "s3://moody/../other/rx.npy", f"{server.endpoint}/moody/rx.npy", "../other/rx.npy",
            ):  # fmt: skip
                with pytest.raises(LocationRefused):
                    open_location(location, settings_of(server))
        assert server.requests == []


class TestOutages:
    def test_a_request_is_repeated_until_the_store_is_back(self, credentials: None) -> None:
        away = (503, refused("SlowDown"))
        with moody(away, away, (404, refused("NoSuchKey"))) as server:
            settings = load_settings(s3_endpoint_url=server.endpoint, iq_root="s3://moody", store_retry_seconds=10.0)
            with pytest.raises(RecordingNotFound):
                open_location("rx.npy", settings)
        assert len(server.requests) == 3

    def test_a_store_that_is_away_costs_no_time_limit_for_each_object(self, credentials: None) -> None:
        with moody((503, "")) as server:
            settings = settings_of(server)
            for _ in range(Outage.FAILURES):
                with pytest.raises(StoreUnavailable, match="answers 503"):
                    open_location("rx.npy", settings)
            with pytest.raises(StoreUnavailable, match=r"its store did not answer 0\.\d s ago") as caught:
                open_location("rx.npy", settings)
        assert caught.value.transient
        assert len(server.requests) == Outage.FAILURES

    def test_an_answer_ends_an_outage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        outage = Outage()
        for _ in range(Outage.FAILURES):
            outage.note(is_away=True)
        with pytest.raises(StoreUnavailable):
            outage.require_over("rx")
        monkeypatch.setattr(Outage, "PAUSE_S", 0.0)
        outage.require_over("rx")
        outage.note(is_away=False)
        monkeypatch.undo()
        outage.note(is_away=True)
        outage.require_over("rx")

    def test_a_refusal_is_no_outage(self, credentials: None) -> None:
        with moody((403, "")) as server:
            for _ in range(Outage.FAILURES + 1):
                with pytest.raises(AccessDenied):
                    open_location("rx.npy", settings_of(server))
        assert len(server.requests) == Outage.FAILURES + 1

    def test_no_more_requests_than_allowed_are_made_at_a_time(self, credentials: None) -> None:
        with moody((404, "")) as server:
            server.may_answer.clear()
            settings = settings_of(server, store_connections=2)
            bucket, _ = bucket_of("s3://moody/rx", settings)

            def ask() -> None:
                with pytest.raises(RecordingNotFound):
                    bucket.head("rx")

            threads = [threading.Thread(target=ask) for _ in range(6)]
            for thread in threads:
                thread.start()
            wait_for(lambda: len(server.requests) >= 2, "two requests", poll_s=0.01)
            # A third one would be here within a moment.
            with pytest.raises(AssertionError, match="in vain"):
                wait_for(lambda: len(server.requests) > 2, "a third request", timeout_s=0.3, poll_s=0.01)
            server.may_answer.set()
            for thread in threads:
                thread.join()
            assert len(server.requests) == 6

    def test_a_process_that_was_forked_says_so_and_does_not_hang(self, object_store: ObjectStore, bucket: str) -> None:
        code = (
            "import os, sys\n"
            "from heimdall_assets.iq import identify\n"
            "from heimdall_assets.settings import load_settings\n"
            f"settings = load_settings(iq_root='s3://{bucket}')\n"
            "assert identify('gone', settings) is None\n"
            "if (child := os.fork()) == 0:\n"
            "    try:\n"
            "        identify('gone', settings)\n"
            "    except Exception as error:\n"
            "        os._exit('was forked' in str(error))\n"
            "    os._exit(9)\n"
            "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 1


def test_credentials_stand_in_no_message_no_traceback_and_no_log(
    credentials: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A store repeats what was signed, as AWS does, and puts the key into its sentence, as none should."""
    caplog.set_level(logging.DEBUG)
    echo = {"AWSAccessKeyId": ACCESS_KEY_ID, "CanonicalRequest": f"x-amz-security-token:{SESSION_TOKEN}"}
    answers = [
        (403, refused("SignatureDoesNotMatch", f"Signed by {SECRET_ACCESS_KEY}", **echo)),
        (400, refused("InvalidToken", SESSION_TOKEN, **{"Token-0": SESSION_TOKEN})),
        (418, f"{SECRET_ACCESS_KEY} {SESSION_TOKEN}"),
    ]
    texts = []
    for answer in answers:
        with moody(answer) as server, pytest.raises(RecordingError) as caught:
            open_location("rx.npy", settings_of(server))
        texts += [caught.value.message, "".join(traceback.format_exception(caught.value))]
    settings = load_settings(s3_endpoint_url="https://s3.example.org")
    told = "\n".join([*texts, caplog.text, repr(settings), repr(bucket_of("s3://moody/rx", settings))])
    for secret in (SECRET_ACCESS_KEY, SESSION_TOKEN):
        assert secret not in told
    assert "Signed by ***" in told


def test_a_password_in_the_endpoint_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingError, match=r"HEIMDALL_S3_ENDPOINT_URL=.* is not allowed: .*without password") as caught:
        load_settings(s3_endpoint_url="https://me:secret@minio:9000")
    assert "secret" not in str(caught.value)


def test_paths_do_not_pay_for_the_client() -> None:
    code = (
        "import sys; from heimdall_assets.iq import open_iq\n"
        "try: open_iq('/nowhere/rx.npy')\nexcept Exception: pass\n"
        "sys.exit('obstore' in sys.modules or 'pydantic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
