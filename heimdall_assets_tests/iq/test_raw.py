"""Raw formats, whose size and suffix are all there is."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets.errors import EmptyRecording
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
@pytest.mark.parametrize("odd", [1, 7])
def test_bytes_after_the_last_whole_sample_are_ignored_with_a_remark(
    name: str, dtype: str, full_scale: float, midpoint: float, odd: int
) -> None:
    values = components(10, dtype)
    width = values.itemsize * 2
    recording = IQFile(MemorySource(values.tobytes() + bytes(odd), f"rx.{name}"), {})
    assert recording.num_samples == 10 + odd // width
    assert np.array_equal(recording.read(0, 10), expected(values, full_scale, midpoint))
    said = f"the last {odd % width} bytes are ignored: a sample has {width}"
    assert (said in recording.remarks) == bool(odd % width)


@pytest.mark.parametrize("name", ["cf32", "cs16", "cs8", "cu8"])
def test_less_than_a_sample_is_an_empty_recording(name: str) -> None:
    with pytest.raises(EmptyRecording, match="has no samples: it holds 1 bytes"):
        IQFile(MemorySource(b"\1", f"rx.{name}"), {})


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
