""".npy files against the format's specification and numpy's own writer."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

from heimdall_assets.errors import EmptyRecording, MalformedRecording, TruncatedRecording
from heimdall_assets.iq import IQFile
from heimdall_assets_tests.iq.builders import MemorySource, components, expected, npy

SAMPLES = expected(components(500, "<f4"))


def opened(content: bytes) -> IQFile:
    return IQFile(MemorySource(content, "rx.npy"), {})


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("descr", ["<c8", ">c8", "<c16", ">c16"])
def test_complex_arrays_of_either_byte_order_and_every_version_are_read(descr: str, version: int) -> None:
    recording = opened(npy(descr, (500,), SAMPLES.astype(descr).tobytes(), version=version))
    assert (recording.format, recording.num_samples, recording.sample_rate_hz) == ("npy", 500, None)
    assert np.array_equal(recording.read(0, 500), SAMPLES)
    assert np.array_equal(recording.read(123, 7), SAMPLES[123:130])


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize(
    ("descr", "full_scale", "midpoint"),
    [("<f4", 1, 0), (">f4", 1, 0), ("<f8", 1, 0), ("|i1", 128, 0), ("|u1", 127.5, 127.5), ("<i2", 32768, 0),
     (">i2", 32768, 0), ("<i4", 2147483648, 0)],
)  # fmt: skip
def test_pairs_of_reals_are_read_in_c_and_fortran_order(
    descr: str, full_scale: float, midpoint: float, fortran: bool
) -> None:
    values = components(300, descr)
    pairs = values.reshape(300, 2)
    recording = opened(npy(descr, (300, 2), pairs.tobytes(order="F" if fortran else "C"), fortran=fortran))
    assert recording.num_samples == 300
    whole = expected(values, full_scale, midpoint)
    assert np.array_equal(recording.read(0, 300), whole)
    assert np.array_equal(recording.read(299, 300), whole[299:])
    assert np.array_equal(recording.read(17, 100), whole[17:117])


@pytest.mark.parametrize(
    "array",
    [SAMPLES, SAMPLES[::-1], SAMPLES.reshape(1, -1), np.asfortranarray(SAMPLES.reshape(-1, 1)), SAMPLES[:1]],
    ids=["plain", "reversed", "row", "column", "single"],
)
def test_what_numpy_saves_is_read_back(array: np.ndarray) -> None:
    recording = opened(saved(array))
    assert np.array_equal(recording.read(0, 1000), array.ravel())


def test_only_the_bytes_of_the_samples_are_read() -> None:
    source = MemorySource(saved(np.zeros(1_000_000, np.complex64)), "rx.npy")
    recording = IQFile(source, {})
    assert source.bytes_read < 1200
    source.reads.clear()
    recording.read(999_990, 100)
    assert source.reads == [(source.size_bytes - 80, 80)]


def test_a_missing_byte_is_truncated_and_one_too_many_malformed() -> None:
    content = saved(SAMPLES)
    with pytest.raises(TruncatedRecording, match=r"4127 bytes; its header announces 4128 \(shape \(500,\)\)"):
        opened(content[:-1])
    with pytest.raises(MalformedRecording, match="4129 bytes, more than the 4128"):
        opened(content + b"\0")


@pytest.mark.parametrize("keep", [6, 7, 8, 9, 10, 50, 127])
def test_a_file_that_ends_within_its_header_is_truncated(keep: int) -> None:
    with pytest.raises(TruncatedRecording, match="ends before"):
        opened(saved(SAMPLES)[:keep])


def test_objects_are_refused_without_being_unpickled() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("unpickled",)

    with pytest.raises(MalformedRecording, match="Python objects, which are never loaded"):
        opened(npy("|O", (1,), pickle.dumps(Bomb())))


@pytest.mark.parametrize(
    ("descr", "shape"),
    [("<f4", (8,)), ("<f8", (4, 3)), ("<f4", (2, 4, 1)), ("<c8", (2, 2)), ("<c8", ()), ("<f4", (2, 4))],
)
def test_arrays_that_are_no_iq_are_refused(descr: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(MalformedRecording, match=r"IQ is complex \(n,\) or real \(n, 2\)"):
        opened(npy(descr, shape, bytes(64)))


@pytest.mark.parametrize(
    "descr", ["<f2", "|S8", "<U2", "|b1", "<M8[s]", "|V8", "<c32", "c8", "<i8", "", "<", "x" * 999]
)
def test_types_that_are_no_samples_are_refused(descr: str) -> None:
    with pytest.raises(MalformedRecording, match="which is not a type of IQ samples"):
        opened(npy(descr, (8,), bytes(64)))


def test_an_array_without_elements_is_an_empty_recording() -> None:
    for descr, shape in (("<c8", (0,)), ("<f4", (0, 2)), ("<c8", (1, 0))):
        with pytest.raises(EmptyRecording, match="no samples"):
            opened(npy(descr, shape, b""))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"{'descr': '<c8', 'fortran_order': False, 'shape': (9999999999999999999,)}", "announces"),
        (b"{'descr': '<c8', 'fortran_order': False, 'shape': (-1,)}", "shape="),
        (b"{'descr': '<c8', 'fortran_order': False, 'shape': (True,)}", "shape="),
        (b"{'descr': '<c8', 'fortran_order': False, 'shape': (4.0,)}", "shape="),
        (b"{'descr': '<c8', 'fortran_order': False, 'shape': [4]}", "shape="),
        (b"{'descr': '<c8', 'fortran_order': 0, 'shape': (4,)}", "fortran_order=0"),
        (b"{'descr': '<c8', 'shape': (4,)}", "without exactly"),
        (b"{'descr': '<c8', 'fortran_order': False, 'shape': (4,), 'more': 1}", "without exactly"),
        (b"{'descr': [('i', '<f4'), ('q', '<f4')], 'fortran_order': False, 'shape': (4,)}", "holds records"),
        (b"['descr', 'fortran_order', 'shape']", "without exactly"),
        (b"__import__('os').system('false')", "no Python literal"),
        (b"{'descr': '<c8', 'fortran_order': False, 'shape': (4,)", "no Python literal"),
        (b"{[]: 1}", "no Python literal"),
        (b"-" * 9000 + b"1", "no Python literal"),
        (b"(" * 5000, "no Python literal"),
        (b"\0" * 100, "no Python literal"),
        (b"", "no Python literal"),
    ],
)
def test_headers_that_lie_or_attack_are_refused(header: bytes, why: str) -> None:
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(32)
    with pytest.raises((MalformedRecording, TruncatedRecording), match=why):
        opened(content)


def test_a_header_in_no_valid_utf8_is_malformed() -> None:
    with pytest.raises(MalformedRecording, match="no Python literal"):
        opened(b"\x93NUMPY\x03\x00\x04\x00\x00\x00\xff\xfe\xff\xfe" + bytes(32))


@pytest.mark.parametrize("version", [b"\x00\x00", b"\x04\x00", b"\x01\x01", b"\xff\xff"])
def test_an_unknown_version_is_malformed(version: bytes) -> None:
    with pytest.raises(MalformedRecording, match=r"claims \.npy version"):
        opened(b"\x93NUMPY" + version + saved(SAMPLES)[8:])


def test_a_header_that_claims_gigabytes_is_not_read() -> None:
    source = MemorySource(b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(1000), "rx.npy")
    with pytest.raises(MalformedRecording, match="claims a header of 4294967295 bytes"):
        IQFile(source, {})
