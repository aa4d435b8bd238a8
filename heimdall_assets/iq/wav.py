"""WAV files of SDR recorders: two channels, I on the left and Q on the right.

Read are PCM of 8, 16, 24 and 32 bits and floats of 32 and 64, plain or WAVE_FORMAT_EXTENSIBLE, in RIFF or RF64.
Centre frequency and start time come from an ``auxi`` chunk. Where its 32 bits are too few, the name tells the rest.

No library serves here: the standard library's ``wave`` knows no floats, ``scipy.io.wavfile`` maps real files only
and no 24-bit ones, libsndfile hides the ``auxi`` chunk; and all of them take lengths that the file contradicts for
granted. The container is a dozen lines (``riff.py``), the samples are numpy types.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from heimdall_assets.errors import MalformedRecording, TruncatedRecording, UnknownFormat
from heimdall_assets.iq import auxi, names, riff
from heimdall_assets.iq.header import Format, Header
from heimdall_assets.iq.raw import read_interleaved, whole_samples
from heimdall_assets.iq.samples import CF32, CF64, CS16, CS24, CS32, CU8

if TYPE_CHECKING:
    from heimdall_assets.iq.header import Hints
    from heimdall_assets.iq.samples import Encoding
    from heimdall_assets.iq.sources import ByteSource

ENCODINGS = {(1, 8): CU8, (1, 16): CS16, (1, 24): CS24, (1, 32): CS32, (3, 32): CF32, (3, 64): CF64}
"""By format tag (1: PCM, 3: IEEE float) and bits."""


def recognizes(source: ByteSource, head: bytes) -> bool:  # noqa: ARG001
    """Whether the file begins like a RIFF or RF64 WAVE file."""
    return riff.is_riff(head)


def read_header(source: ByteSource, hints: Hints) -> Header:
    """Read the chunks around the samples.

    Raises
    ------
    MalformedRecording
        It is not stereo, or a chunk contradicts the format.
    TruncatedRecording
        The file ends before its samples begin.
    EmptyRecording
        There is no whole frame.
    UnknownFormat
        The samples are compressed.
    """
    wave, data, facts = None, None, None
    for chunk in riff.chunks(source):
        if chunk.name == b"fmt " and wave is None:
            wave = riff.wave_format(source, chunk)
        elif chunk.name == b"auxi":
            facts = auxi.parse(riff.body(source, chunk))
        elif chunk.name == b"data":
            data = chunk
            break
    if data is None:
        raise TruncatedRecording(f"{source.name} ends without a data chunk")
    extent = riff.extent(source, data)
    facts = facts or _facts_behind(source, extent.trailing)
    if wave is None:
        raise TruncatedRecording(f"{source.name} ends without a fmt chunk")
    encoding = _encoding(wave, source.name)
    num_samples, remarks = whole_samples(extent.num_bytes, encoding, source.name)
    return Header(
        format="wav",
        num_samples=num_samples,
        read=partial(read_interleaved, source, encoding, data.offset),
        sample_rate_hz=float(wave.sample_rate_hz),
        center_frequency_hz=auxi.unwrapped(
            facts.center_frequency_hz,
            names.parse(source.name).center_frequency_hz or hints.get("center_frequency_hz"),
        ),
        start_time=facts.start_time,
        missing_samples=extent.missing_bytes // encoding.sample_bytes,
        remarks=(*extent.remarks, *remarks),
    )


def _facts_behind(source: ByteSource, trailing: tuple[riff.Chunk, ...]) -> auxi.Auxi:
    """What an ``auxi`` chunk behind the samples states; a second data chunk there is refused."""
    if any(chunk.name == b"data" for chunk in trailing):
        raise MalformedRecording(f"{source.name} has more than one data chunk")
    found = next((c for c in trailing if c.name == b"auxi" and c.size <= riff.MAX_METADATA_BYTES), None)
    return auxi.Auxi() if found is None else auxi.parse(riff.body(source, found))


def _encoding(wave: riff.WaveFormat, name: str) -> Encoding:
    """How a frame holds I and Q."""
    if wave.channels != 2:
        raise MalformedRecording(f"{name} has {wave.channels} channels; IQ has two")
    encoding = ENCODINGS.get((wave.tag, wave.bits))
    if encoding is None:
        raise UnknownFormat(f"{name} is WAV of format {wave.tag} with {wave.bits} bits, which is not read")
    return encoding


FORMAT = Format(
    name="wav",
    description="WAV with I and Q as two channels",
    read_header=read_header,
    suffixes=(".wav", ".rf64"),
    aliases=("wave",),
    recognizes=recognizes,
)
