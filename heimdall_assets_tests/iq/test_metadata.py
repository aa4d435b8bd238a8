"""SigMF metadata: what is used is checked, what is not does no harm."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from heimdall_assets.errors import MalformedRecording, UnknownFormat
from heimdall_assets.iq.metadata import Metadata, parse
from heimdall_assets.iq.samples import CF32, CF64, CS8, CS16, CU8, Encoding
from heimdall_assets_tests.iq.builders import sigmf_meta


def parsed(facts: dict[str, Any] | None = None, **capture: Any) -> Metadata:
    return parse(sigmf_meta(facts or {}, **capture), "rx.sigmf-meta")


def test_rate_frequency_and_time_are_read() -> None:
    metadata = parsed({"core:sample_rate": 2.4e6}, frequency=145.5e6, datetime="2024-03-05T12:34:56.789Z")
    assert metadata == Metadata(CF32, 2.4e6, 145.5e6, datetime(2024, 3, 5, 12, 34, 56, 789_000, UTC))


def test_what_the_metadata_do_not_say_is_none() -> None:
    assert parse(b'{"global": {"core:datatype": "cf32_le"}}', "x") == Metadata(CF32, None, None, None)
    assert parsed({"core:sample_rate": 1}, frequency=0).center_frequency_hz is None


@pytest.mark.parametrize(
    "datatype", ["cf32,e", "cf64_", "ci16_xe", "cf32_le_be", "cu8_", "cf32 ", "ci16_le" + "x" * 5000]
)
def test_a_datatype_that_only_begins_like_one_is_malformed(datatype: str) -> None:
    with pytest.raises(MalformedRecording, match="states the datatype"):
        parsed({"core:datatype": datatype})


@pytest.mark.parametrize(
    ("datatype", "encoding"),
    [("cf32_le", CF32), ("cf32", CF32), ("cf32_be", Encoding(">c8")), ("cf64_le", CF64), ("ci16_le", CS16),
     ("ci8", CS8), ("cu8", CU8), ("ci16_be", Encoding(">i2", 32768.0)), ("ci32_le", Encoding("<i4", 2.0**31)),
     ("cu16_le", Encoding("<u2", 32767.5, 32767.5))],
)  # fmt: skip
def test_every_complex_datatype_has_its_encoding(datatype: str, encoding: Encoding) -> None:
    found = parsed({"core:datatype": datatype}).encoding
    assert found.sample_bytes == encoding.sample_bytes
    raw = bytes(range(1, 1 + 2 * encoding.sample_bytes))
    assert found.decode(raw).tobytes() == encoding.decode(raw).tobytes()


@pytest.mark.parametrize(
    ("stated", "start", "expected"),
    [
        ("2024-03-05T12:34:56Z", 0, datetime(2024, 3, 5, 12, 34, 56, tzinfo=UTC)),
        ("2024-03-05T12:34:56", 0, datetime(2024, 3, 5, 12, 34, 56, tzinfo=UTC)),
        ("2024-03-05T12:34:56.123456789Z", 0, datetime(2024, 3, 5, 12, 34, 56, 123_456, UTC)),
        ("2024-03-05T12:34:56Z", 2000, datetime(2024, 3, 5, 12, 34, 54, tzinfo=UTC)),
        ("2024-03-05T14:34:56+02:00", 0, datetime(2024, 3, 5, 14, 34, 56, tzinfo=timezone(timedelta(hours=2)))),
        ("2016-12-31T23:59:60.5Z", 0, datetime(2017, 1, 1, 0, 0, 0, 500_000, UTC)),
        ("2016-12-31T23:59:60Z", 2000, datetime(2016, 12, 31, 23, 59, 58, tzinfo=UTC)),
        ("2017-01-01T01:59:60+02:00", 0, datetime(2017, 1, 1, tzinfo=UTC)),
        ("2019-03-31T24:00:00Z", 0, datetime(2019, 4, 1, tzinfo=UTC)),
        ("2019-12-31T24:00:00.000Z", 0, datetime(2020, 1, 1, tzinfo=UTC)),
        ("9999-12-31T24:00:00Z", 0, None),
        ("0001-01-01T00:00:00Z", 10**15, None),
    ],
)
def test_the_start_is_that_of_the_files_first_sample(stated: str, start: int, expected: datetime | None) -> None:
    found = parsed({"core:sample_rate": 1000.0}, datetime=stated, sample_start=start).start_time
    assert found == expected
    assert found is None or found.tzinfo is UTC


def test_an_offset_of_a_split_recording_is_no_missing_time() -> None:
    metadata = parsed({"core:sample_rate": 10, "core:offset": 500}, datetime="2024-03-05T00:00:00Z", sample_start=500)
    assert metadata.start_time == datetime(2024, 3, 5, tzinfo=UTC)


def test_extensions_annotations_and_careless_fields_are_not_looked_at() -> None:
    document = json.loads(sigmf_meta({"antenna:gain": "?", "core:hw": None, "core:extensions": 5}))
    document["annotations"] = [{"nonsense": True}]
    document["captures"].append({"core:frequency": "?"})
    assert parse(json.dumps(document).encode(), "x").encoding == CF32


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b"5", b'{"global": 5}', b'{"global": {}, "captures": 5}', b"\xff\xfe{",
     b'{"global": {}, "captures": "x"}', b'{"global": {}, "captures": {"a": 1}}', b"[" * 100_000,
     b'{"global": {"core:datatype": "cf32", "core:sample_rate": NaN}}',
     b'{"global": {"core:datatype": "cf32", "core:sample_rate": ' + b"9" * 5000 + b"}}"],
)  # fmt: skip
def test_what_is_no_sigmf_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedRecording, match="is no SigMF metadata"):
        parse(raw, "rx.sigmf-meta")


@pytest.mark.parametrize(
    ("facts", "capture", "where"),
    [
        ({"core:datatype": None}, {}, "global.core:datatype"),
        ({"core:datatype": "float"}, {}, "global.core:datatype"),
        ({"core:sample_rate": 0}, {}, "global.core:sample_rate"),
        ({"core:sample_rate": "fast"}, {}, "global.core:sample_rate"),
        ({"core:sample_rate": 1e400}, {}, None),
        ({"core:num_channels": 0}, {}, "global.core:num_channels"),
        ({}, {"frequency": "high"}, r"captures\.0\.core:frequency"),
        ({}, {"datetime": 5}, r"captures\.0\.core:datetime"),
        ({}, {"sample_start": -1}, r"captures\.0\.core:sample_start"),
        ({}, {"sample_start": True}, r"captures\.0\.core:sample_start"),
    ],
)
def test_a_field_against_the_schema_is_named(facts: dict[str, Any], capture: dict[str, Any], where: str | None) -> None:
    with pytest.raises(MalformedRecording, match=where or "is no SigMF metadata"):
        parsed(facts, **capture)


def test_metadata_without_a_datatype_are_refused() -> None:
    with pytest.raises(MalformedRecording, match="'core:datatype' is a required property"):
        parse(b'{"global": {}}', "x")


def test_an_endless_time_is_refused() -> None:
    with pytest.raises(MalformedRecording, match="a time of 100000 characters"):
        parsed(datetime="2" * 100_000)


@pytest.mark.parametrize(
    ("facts", "capture", "why"),
    [
        ({"core:datatype": "rf32_le"}, {}, "real samples"),
        ({"core:num_channels": 2}, {}, "2 channels"),
        ({"core:dataset": "../../etc/passwd"}, {}, "non-conforming"),
        ({"core:trailing_bytes": 4}, {}, "non-conforming"),
        ({}, {"header_bytes": 44}, "non-conforming"),
    ],
)
def test_what_sigmf_allows_but_is_not_read_is_said(facts: dict[str, Any], capture: dict[str, Any], why: str) -> None:
    with pytest.raises(UnknownFormat, match=why):
        parsed(facts, **capture)


def captured(*captures: dict[str, Any], offset: int = 0) -> int | None:
    document = {
        "global": {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:offset": offset},
        "captures": [{f"core:{key}": value for key, value in capture.items()} for capture in captures],
        "annotations": [],
    }
    return parse(json.dumps(document).encode(), "rx.sigmf-meta").steady_samples


def test_the_first_capture_on_another_frequency_ends_what_is_steady() -> None:
    first: dict[str, Any] = {"sample_start": 0, "frequency": 1e8}
    assert captured(first) is None
    assert captured(first, {"sample_start": 500, "frequency": 1e8}) is None
    assert captured(first, {"sample_start": 500}) is None
    assert captured(first, {"sample_start": 500, "frequency": 1e8}, {"sample_start": 900, "frequency": 2e8}) == 900
    assert captured({**first, "sample_start": 100}, {"sample_start": 900, "frequency": 2e8}, offset=100) == 800
    assert captured(first, {"sample_start": "x", "frequency": 2e8}, {"sample_start": 7, "frequency": None}) is None
    assert captured({"sample_start": 0}, {"sample_start": 7, "frequency": 1e8}) is None


def test_a_byte_order_mark_before_the_metadata_is_passed_over() -> None:
    raw = b"\xef\xbb\xbf" + json.dumps({"global": {"core:datatype": "cf32_le", "core:version": "1.2.0"}}).encode()
    assert parse(raw, "rx.sigmf-meta").encoding.sample_bytes == 8
