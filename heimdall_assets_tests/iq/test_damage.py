"""Damaged files of every format: a right answer or a RecordingError, at a bounded cost, never anything else."""

from __future__ import annotations

import random
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heimdall_assets.errors import MalformedRecording, RecordingError, RecordingTooLarge, UnknownFormat
from heimdall_assets.iq import FORMATS, IQFile
from heimdall_assets.iq.zipped import open_member
from heimdall_assets_tests.iq.builders import MemorySource, auxi, components, fmt, kiwi, npy, riff, sigmf_meta, tar
from heimdall_assets_tests.iq.mutations import Case, bombs
from heimdall_assets_tests.iq.mutations import damaged as damaged_by
from heimdall_assets_tests.iq.specimens import SPECIMENS, Specimen, zipped

PAIRS = components(64, "<f4").tobytes()
SHORTS = components(64, "<i2").tobytes()
VALID: dict[str, bytes] = {
    "npy": npy("<c8", (64,), PAIRS),
    "npy-fortran": npy("<f4", (64, 2), PAIRS, fortran=True, version=3),
    "wav": riff((b"fmt ", fmt()), (b"auxi", auxi()), (b"data", SHORTS)),
    "kiwi": kiwi(12, rate_hz=375, block=16)[0],
    "sigmf": tar({"a.sigmf-meta": sigmf_meta({"core:sample_rate": 1e6}, frequency=1e8), "a.sigmf-data": PAIRS}),
    "cf32": PAIRS,
    "cu8": SHORTS,
}  # fmt: skip
NAMES = {"cf32": "20171127T104156Z_77500_X.cf32", "cu8": "x.cu8"}
BYTES = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file of which some bytes, most likely of the header, were changed, cut off, inserted or added."""
    made = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, min(200, len(made))) | st.integers(0, len(made)))
        change = draw(st.sampled_from(["set", "set", "set", "long", "insert", "delete", "cut", "extend"]))
        some = bytes(draw(st.lists(BYTES, min_size=1, max_size=8)))
        if change == "set":
            made[at : at + len(some)] = some[: len(made) - at]
        elif change == "long":
            made[at : at + 4] = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80")[some[0] % 3]
        elif change == "insert":
            made[at:at] = some
        elif change == "delete":
            del made[at : at + len(some)]
        elif change == "cut":
            del made[at:]
        else:
            made += some * draw(st.integers(1, 40))
    return bytes(made)


def outcome(content: bytes, name: str) -> IQFile:
    """Open and read; whatever comes out must be consistent with itself."""
    recording = IQFile(MemorySource(content, name), {})
    samples = recording.read(0, 10**18)
    assert samples.dtype == np.complex64
    assert len(samples) == recording.num_samples
    assert 1 <= recording.num_samples <= len(content)
    assert recording.sample_rate_hz is None or recording.sample_rate_hz > 0
    assert recording.center_frequency_hz is None or recording.center_frequency_hz > 0
    assert recording.start_time is None or recording.start_time.tzinfo is not None
    half = recording.num_samples // 2
    assert recording.read(half, 3).tobytes() == samples[half : half + 3].tobytes()
    assert all(remark and "\n" not in remark for remark in recording.remarks)
    assert recording.missing_samples >= 0
    return recording


@pytest.mark.parametrize("kind", VALID)
def test_the_undamaged_file_is_read(kind: str) -> None:
    outcome(VALID[kind], NAMES.get(kind, "20171127T104156Z_77500_X"))


@pytest.mark.parametrize("kind", VALID)
@given(data=st.data())
@settings(deadline=None, max_examples=150, derandomize=True)
def test_a_damaged_file_is_read_or_refused_at_a_bounded_cost(kind: str, data: st.DataObject) -> None:
    content = data.draw(damaged(VALID[kind]))
    tracemalloc.start()
    try:
        outcome(content, NAMES.get(kind, "20171127T104156Z_77500_X"))
    except RecordingError as error:
        assert error.message  # noqa: PT017  a refusal is one of two good outcomes
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2_000_000 + 100 * len(content)


@pytest.mark.parametrize("kind", VALID)
def test_a_file_cut_at_any_byte_is_read_or_refused(kind: str) -> None:
    needed = len(VALID[kind].rstrip(b"\0"))  # tar archives end in thousands of zeros that nobody needs
    for keep in range(1, min(len(VALID[kind]), needed + 600)):
        try:
            recording = outcome(VALID[kind][:keep], NAMES.get(kind, "20171127T104156Z_77500_X"))
        except RecordingError:
            continue
        # raw files have no length to compare with
        is_noticed = bool(recording.missing_samples or recording.remarks)
        assert kind in NAMES or keep >= needed or is_noticed, f"{kind} cut to {keep} bytes was not noticed"


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda specimen: specimen.name)
@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=10, derandomize=True)
def test_damage_of_every_kind_to_every_format_is_read_or_refused(specimen: Specimen, seed: int) -> None:
    rng = random.Random(seed)
    files = {name: damaged_by(rng, content) for name, content in specimen.files.items()}
    sources = {name: MemorySource(content, name) for name, content in files.items()}
    for source in sources.values():
        source.siblings = sources
    try:
        recording = IQFile(sources[specimen.opened], {"max_bytes": 2**30})
        assert len(recording.read(0, 10**6)) == min(recording.num_samples, 10**6)
    except RecordingError as error:
        assert error.message  # noqa: PT017  a refusal is one of two good outcomes


@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=150, derandomize=True)
def test_damaged_archives_of_damaged_recordings_are_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    specimen = rng.choice(SPECIMENS)
    archive = zipped(specimen.files, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    try:
        member = open_member(MemorySource(damaged_by(rng, archive), "all.zip"), specimen.opened, 2**30)
        IQFile(member, {"max_bytes": 2**30}).read(0, 10**6)
    except RecordingError as error:
        assert error.message  # noqa: PT017  a refusal is one of two good outcomes


@pytest.mark.parametrize("bomb", bombs(), ids=lambda bomb: bomb.name)
def test_a_bomb_is_refused_in_small_memory(bomb: Case) -> None:
    name, content = next(iter(bomb.specimen.files.items()))
    tracemalloc.start()
    with pytest.raises((RecordingTooLarge, MalformedRecording, UnknownFormat)):
        open_and_read(MemorySource(content, name), None if bomb.place == "path" else bomb.specimen.opened)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def open_and_read(source: MemorySource, member: str | None) -> None:
    IQFile(source if member is None else open_member(source, member, 2**40), {"max_bytes": 2**40}).read(0, 10**6)


@given(content=st.binary(min_size=1, max_size=300), name=st.sampled_from(["x", "x.npy", "x.wav", "x.cs16", "x.sigmf"]),
       hint=st.sampled_from([None, *(entry.name for entry in FORMATS)]))  # fmt: skip
@settings(deadline=None, max_examples=200, derandomize=True)
def test_random_bytes_are_read_or_refused(content: bytes, name: str, hint: str | None) -> None:
    try:
        IQFile(MemorySource(content, name), {"format": hint}).read(0, 1000)
    except RecordingError as error:
        assert error.message  # noqa: PT017  a refusal is one of two good outcomes
