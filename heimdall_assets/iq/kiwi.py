"""KiwiSDR's WAV files: complex samples with a GNSS time stamp a block.

Layout, as ``kiwirecorder.py`` of github.com/jks-prv/kiwiclient writes it (``--kiwi-wav``): a RIFF header, ``fmt ``
(16-bit PCM stereo), then pairs of a ``kiwi`` chunk and a ``data`` chunk, usually of 512 samples, to the end of the
file. A ``kiwi`` chunk is ``<BBII``: seconds since the last GNSS fix (254 and 255: none), 0, GPS time of week in
seconds, nanoseconds. It dates the first sample of the block that follows.

A read of samples costs the blocks that hold them, and each block that is read is checked; ``blocks.py`` finds them.
The size in the RIFF header is not looked at: kiwirecorder corrects it after each block, and not at all into a pipe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heimdall_assets.errors import EmptyRecording, MalformedRecording
from heimdall_assets.iq import blocks, gnss, names, riff
from heimdall_assets.iq.header import Format, Header
from heimdall_assets.iq.samples import CS16

if TYPE_CHECKING:
    from heimdall_assets.iq.header import Hints
    from heimdall_assets.iq.sources import ByteSource


def recognizes(source: ByteSource, head: bytes) -> bool:
    """Whether the first chunk after ``fmt `` (within the first bytes) is a ``kiwi`` chunk."""
    if not riff.is_riff(head):
        return False
    fmt_bytes = int.from_bytes(head[16:20], "little")
    after = riff.FIRST_CHUNK + 8 + fmt_bytes + fmt_bytes % 2
    return head[12:16] == b"fmt " and head[after : after + 4] == b"kiwi" and source.size_bytes > after


def read_header(source: ByteSource, hints: Hints) -> Header:  # noqa: ARG001
    """Read the container's header and the blocks' stamps.

    The GPS week comes from the time stamp in the file's name, else from the time of the file's last change.

    Raises
    ------
    MalformedRecording
        Lengths contradict each other or the format.
    TruncatedRecording, EmptyRecording
        There is no complete block.
    """
    wave, first = _container(source)
    found = blocks.find_blocks(source, first)
    clock = gnss.fit_clock(found.positions, found.stamps, 1 / wave.sample_rate_hz, source.name)
    remarks = found.remarks
    if clock is None:
        sample_rate_hz, start_time = float(wave.sample_rate_hz), None
        remarks += (f"the sample rate of {wave.sample_rate_hz} Hz is nominal: no two time stamps are fresh",)
    else:
        named = names.parse(source.name).start_time
        begin_ns = clock.begin_ns if found.are_equal else gnss.undelayed(clock, found.stamps[0])
        sample_rate_hz, start_time = 1 / clock.sample_s, gnss.utc(begin_ns, named or source.modified_at)
        if named is None and start_time is not None:
            remarks += ("the GPS week of the start time is assumed: it is that of the file's last change",)
    missing_samples = _missing_samples(source)
    if missing_samples:
        remarks += (f"the file was cut: {missing_samples} samples that its header announces are missing",)
    return Header(
        format="kiwi",
        num_samples=found.num_samples,
        read=found.read,
        sample_rate_hz=sample_rate_hz,
        start_time=start_time,
        missing_samples=missing_samples,
        remarks=remarks,
    )


def _missing_samples(source: ByteSource) -> int:
    """Samples that the container announces beyond the end of the file; 0 where that is no size that can be."""
    missing_bytes = riff.announced_beyond(source)
    return 0 if source.has_grown() else missing_bytes // CS16.sample_bytes


def _container(source: ByteSource) -> tuple[riff.WaveFormat, int]:
    """The fmt chunk, and where the first block begins."""
    wave = None
    for chunk in riff.chunks(source):
        if chunk.name == b"kiwi":
            break
        if chunk.name == b"fmt ":
            wave = riff.wave_format(source, chunk)
    else:
        raise EmptyRecording(f"{source.name} has no kiwi chunk")
    if wave is None:
        raise MalformedRecording(f"{source.name} has no fmt chunk before its samples")
    if (wave.tag, wave.channels, wave.bits) != (1, 2, 16):
        raise MalformedRecording(
            f"{source.name} claims format {wave.tag} with {wave.channels} channels of {wave.bits} bits; "
            "KiwiSDRs write 16-bit PCM with two"
        )
    return wave, chunk.offset - 8


FORMAT = Format(
    name="kiwi",
    description="KiwiSDR WAV with GNSS time stamps",
    read_header=read_header,
    suffixes=(".wav",),
    aliases=("kiwisdr",),
    recognizes=recognizes,
)
