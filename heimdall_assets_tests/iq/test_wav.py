"""WAV IQ in every encoding that recorders write, and in none that they do not."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import numpy as np
import pytest

from heimdall_assets.errors import EmptyRecording, MalformedRecording, TruncatedRecording, UnknownFormat
from heimdall_assets.iq import IQFile
from heimdall_assets_tests.iq.builders import MemorySource, auxi, components, expected, fmt, riff, wav

VALUES = components(100, "<i2")


def opened(content: bytes, name: str = "rx.wav", **hints: float) -> IQFile:
    return IQFile(MemorySource(content, name), hints)  # type: ignore[arg-type]  # a dict of floats is no Hints


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(
    ("dtype", "bits", "tag", "full_scale", "midpoint"),
    [("u1", 8, 1, 127.5, 127.5), ("<i2", 16, 1, 2.0**15, 0), ("<i4", 32, 1, 2.0**31, 0), ("<f4", 32, 3, 1, 0),
     ("<f8", 64, 3, 1, 0)],
)  # fmt: skip
def test_every_encoding_is_read_to_the_last_bit(
    dtype: str, bits: int, tag: int, full_scale: float, midpoint: float, extensible: bool
) -> None:
    values = components(1000, dtype)
    content = wav(values.tobytes(), rate_hz=192_000, bits=bits, tag=tag, extensible=extensible)
    recording = opened(content)
    whole = expected(values, full_scale, midpoint)
    assert (recording.format, recording.num_samples, recording.sample_rate_hz) == ("wav", 1000, 192_000.0)
    assert np.array_equal(recording.read(0, 1000), whole)
    assert np.array_equal(recording.read(77, 13), whole[77:90])


def test_24_bit_samples_are_read_to_the_last_bit() -> None:
    values = np.random.default_rng(3).integers(-(1 << 23), 1 << 23, 2000)
    raw = b"".join(int(value).to_bytes(3, "little", signed=True) for value in values)
    recording = opened(wav(raw, bits=24))
    assert recording.num_samples == 1000
    assert np.array_equal(recording.read(0, 1000), expected(values, 2.0**23))
    assert np.array_equal(recording.read(501, 3), expected(values, 2.0**23)[501:504])


@pytest.mark.parametrize("behind", [False, True])
def test_auxi_tells_centre_and_start_before_or_behind_the_samples(behind: bool) -> None:
    parts = [(b"fmt ", fmt()), (b"auxi", auxi()), (b"data", VALUES.tobytes())]
    recording = opened(riff(*(parts[::2] + parts[1:2] if behind else parts)), "rx_7050kHz_x.wav")
    assert recording.center_frequency_hz == 145_500_000.0
    assert recording.start_time == datetime(2024, 3, 5, 12, 34, 56, 789_000, UTC)
    assert np.array_equal(recording.read(0, 100), expected(VALUES, 32768.0))


def test_without_auxi_the_name_tells_and_a_hint_wins_over_it() -> None:
    name = "HDSDR_20130406_142040Z_7050kHz_RF.wav"
    recording = opened(wav(VALUES.tobytes()), name)
    assert recording.center_frequency_hz == 7_050_000.0
    assert recording.start_time == datetime(2013, 4, 6, 14, 20, 40, tzinfo=UTC)
    assert opened(wav(VALUES.tobytes()), name, center_frequency_hz=7e6).center_frequency_hz == 7e6
    assert opened(wav(VALUES.tobytes())).center_frequency_hz is None


@pytest.mark.parametrize(
    ("true_hz", "name", "hint_hz", "said_hz"),
    [
        (5_760_000_000, "HDSDR_20190101_120000Z_5760000kHz_RF.wav", None, 5_760_000_000),
        (10_368_000_123, "HDSDR_20190101_120000Z_10368000kHz_RF.wav", None, 10_368_000_123),
        (5_760_000_000, "rx.wav", 5.76e9, 5_760_000_000),
        (5_760_000_000, "rx.wav", None, 5_760_000_000 - 2**32),
        (145_500_000, "rx_7050kHz.wav", None, 145_500_000),
        (145_500_000, "rx_145500000Hz.wav", 4_440_500_000, 145_500_000),
    ],
)
def test_a_frequency_beyond_32_bits_is_completed_by_the_name_or_the_hint(
    true_hz: int, name: str, hint_hz: float | None, said_hz: int
) -> None:
    content = riff((b"fmt ", fmt()), (b"auxi", auxi(true_hz % 2**32)), (b"data", VALUES.tobytes()))
    hints = {} if hint_hz is None else {"center_frequency_hz": hint_hz}
    assert opened(content, name, **hints).center_frequency_hz == said_hz


def test_the_sample_rate_in_a_name_is_no_frequency() -> None:
    assert opened(wav(VALUES.tobytes(), rate_hz=48_000), "rx_48kHz.wav").center_frequency_hz is None
    assert opened(wav(VALUES.tobytes(), rate_hz=48_000), "rx_50kHz.wav").center_frequency_hz == 50_000.0


def test_other_chunks_are_skipped() -> None:
    content = riff((b"JUNK", bytes(28)), (b"fmt ", fmt()), (b"fact", bytes(4)), (b"data", VALUES.tobytes()),
                   (b"LIST", b"INFOISFT\4\0\0\0abc\0"))  # fmt: skip
    assert np.array_equal(opened(content).read(0, 200), expected(VALUES, 32768.0))


def test_rf64_is_read() -> None:
    data = VALUES.tobytes()
    body = b"".join(
        [b"WAVE", b"ds64", struct.pack("<IQQQI", 28, 72 + len(data), len(data), 100, 0),
         b"fmt ", struct.pack("<I", 16), fmt(), b"data", struct.pack("<I", 2**32 - 1), data]
    )  # fmt: skip
    recording = opened(b"RF64" + struct.pack("<I", 2**32 - 1) + body)
    assert np.array_equal(recording.read(0, 200), expected(VALUES, 32768.0))
    cut = opened(b"RF64" + struct.pack("<I", 2**32 - 1) + body[:-4])
    assert (cut.num_samples, cut.missing_samples) == (99, 1)


def test_only_the_bytes_of_the_samples_are_read() -> None:
    source = MemorySource(wav(bytes(4_000_000)), "rx.wav")
    recording = IQFile(source, {})
    assert source.bytes_read < 700
    source.reads.clear()
    recording.read(500_000, 2400)
    assert source.reads == [(44 + 2_000_000, 9600)]


class TestLies:
    @pytest.mark.parametrize("channels", [0, 1, 4])
    def test_other_than_two_channels_are_no_iq(self, channels: int) -> None:
        with pytest.raises(MalformedRecording, match=f"has {channels} channels; IQ has two"):
            opened(wav(bytes(64), channels=channels))

    @pytest.mark.parametrize(("tag", "bits"), [(2, 4), (6, 8), (85, 0), (3, 16), (1, 12), (1, 64)])
    def test_compressed_and_odd_samples_are_not_read(self, tag: int, bits: int) -> None:
        content = riff((b"fmt ", struct.pack("<HHIIHH", tag, 2, 8000, 0, 2 * ((bits + 7) // 8), bits)),
                       (b"data", bytes(64)))  # fmt: skip
        with pytest.raises(UnknownFormat, match=f"WAV of format {tag} with {bits} bits, which is not read"):
            opened(content)

    def test_a_file_without_samples_is_empty(self) -> None:
        with pytest.raises(EmptyRecording, match="has no samples"):
            opened(wav(b""))

    def test_a_missing_chunk_is_named(self) -> None:
        with pytest.raises(TruncatedRecording, match="ends without a data chunk"):
            opened(riff((b"fmt ", fmt())))
        with pytest.raises(TruncatedRecording, match="ends without a fmt chunk"):
            opened(riff((b"data", bytes(8))))

    def test_two_data_chunks_are_malformed(self) -> None:
        with pytest.raises(MalformedRecording, match="more than one data chunk"):
            opened(riff((b"fmt ", fmt()), (b"data", bytes(8)), (b"data", bytes(8))))
