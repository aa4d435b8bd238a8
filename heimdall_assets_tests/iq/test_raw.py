"""Raw formats, whose size and suffix are all there is."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets.errors import TruncatedRecording
from heimdall_assets.iq import FORMATS, IQFile
from heimdall_assets_tests.iq.builders import MemorySource, components, expected

CASES = [
    ("cf32", "<f4", 1.0, 0.0),
    ("cs16", "<i2", 32768.0, 0.0),
    ("cs8", "i1", 128.0, 0.0),
    ("cu8", "u1", 127.5, 127.5),
]


@pytest.mark.parametrize(("name", "dtype", "full_scale", "midpoint"), CASES)
def test_raw_samples_are_read_to_the_last_bit(name: str, dtype: str, full_scale: float, midpoint: float) -> None:
    values = components(1000, dtype)
    recording = IQFile(MemorySource(values.tobytes(), f"rx.{name}"), {})
    assert (recording.format, recording.num_samples) == (name, 1000)
    assert (recording.sample_rate_hz, recording.center_frequency_hz, recording.start_time) == (None, None, None)
    assert np.array_equal(recording.read(0, 1000), expected(values, full_scale, midpoint))
    assert np.array_equal(recording.read(990, 50), expected(values, full_scale, midpoint)[990:])


@pytest.mark.parametrize(("name", "dtype", "full_scale", "midpoint"), CASES)
def test_a_raw_file_that_ends_within_a_sample_is_truncated(
    name: str, dtype: str, full_scale: float, midpoint: float
) -> None:
    content = components(10, dtype).tobytes() + b"\1"
    with pytest.raises(TruncatedRecording, match=f"not a multiple of the .* bytes of a {name} sample"):
        IQFile(MemorySource(content, f"rx.{name}"), {})


def test_only_the_bytes_of_the_samples_are_read() -> None:
    source = MemorySource(bytes(8_000_000), "rx.cf32")
    recording = IQFile(source, {})
    assert source.bytes_read <= 512
    source.reads.clear()
    recording.read(500_000, 2400)
    assert source.reads == [(4_000_000, 2400 * 8)]


@pytest.mark.parametrize(
    ("name", "format_name"),
    [("a.CF32", "cf32"), ("a.fc32", "cf32"), ("a.cfile", "cf32"), ("a.sc16", "cs16"), ("a.ci8", "cs8")],
)
def test_unambiguous_suffixes_tell_the_format(name: str, format_name: str) -> None:
    assert IQFile(MemorySource(bytes(16), name), {}).format == format_name


def test_no_two_formats_that_content_cannot_tell_share_a_name_or_a_suffix() -> None:
    silent = [entry for entry in FORMATS if entry.recognizes is None]
    names = [name for entry in silent for name in (entry.name, *entry.aliases)]
    suffixes = [suffix for entry in silent for suffix in entry.suffixes]
    assert len({entry.name for entry in FORMATS}) == len(FORMATS)
    assert len(set(names)) == len(names)
    assert len(set(suffixes)) == len(suffixes)
