"""WAV files of SDR recorders: two channels, I on the left and Q on the right.

Read are PCM of 8, 16, 24 and 32 bits and floats of 32 and 64, plain or WAVE_FORMAT_EXTENSIBLE, in RIFF or RF64.
Centre frequency and start time come from an ``auxi`` chunk, else from the file's name.

No library serves here: the standard library's ``wave`` knows no floats, ``scipy.io.wavfile`` maps real files only
and no 24-bit ones, libsndfile hides the ``auxi`` chunk; and all of them take lengths that the file contradicts for
granted. The container is a dozen lines (``riff.py``), the samples are numpy types.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from heimdall_assets.errors import EmptyRecording, MalformedRecording, TruncatedRecording, UnknownFormat
from heimdall_assets.iq import auxi, names, riff
from heimdall_assets.iq.header import Format, Header
from heimdall_assets.iq.raw import read_interleaved
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
        It is not stereo, or lengths contradict each other, the file or the format.
    TruncatedRecording
        The file ends before the samples do.
    EmptyRecording
        There are no samples.
    UnknownFormat
        The samples are compressed.
    """
    finished = riff.check_size(source)
    wave, data, facts = None, None, auxi.Auxi()
    for chunk in riff.chunks(source):
        if data is not None and not finished and data.size in riff.UNFINISHED:
            break
        if chunk.name == b"fmt " and wave is None:
            wave = riff.wave_format(source, chunk)
        elif chunk.name == b"auxi":
            facts = auxi.parse(riff.body(source, chunk))
        elif chunk.name == b"data":
            if data is not None:
                raise MalformedRecording(f"{source.name} has more than one data chunk")
            data = chunk
    if wave is None or data is None:
        missing = "fmt" if wave is None else "data"
        raise TruncatedRecording(f"{source.name} ends without a {missing} chunk")
    encoding = _encoding(wave, source.name)
    return Header(
        format="wav",
        num_samples=_num_samples(source, data, encoding, finished),
        read=partial(read_interleaved, source, encoding, data.offset),
        sample_rate_hz=float(wave.sample_rate_hz),
        center_frequency_hz=facts.center_frequency_hz
        or hints.get("center_frequency_hz")
        or names.frequency_hz(source.name),
        start_time=facts.start_time or names.start_time(source.name),
    )


def _encoding(wave: riff.WaveFormat, name: str) -> Encoding:
    """How a frame holds I and Q."""
    if wave.channels != 2:
        raise MalformedRecording(f"{name} has {wave.channels} channels; IQ has two")
    encoding = ENCODINGS.get((wave.tag, wave.bits))
    if encoding is None:
        raise UnknownFormat(f"{name} is WAV of format {wave.tag} with {wave.bits} bits, which is not read")
    return encoding


def _num_samples(source: ByteSource, data: riff.Chunk, encoding: Encoding, finished: bool) -> int:
    """Frames in the data chunk, to the end of the file where the recorder never wrote a length."""
    available = source.size_bytes - data.offset
    size = data.size if finished or data.size not in riff.UNFINISHED else available
    if size > available:
        raise TruncatedRecording(f"{source.name} holds {available} bytes of samples; its data chunk claims {size}")
    num_samples, rest = divmod(size, encoding.sample_bytes)
    if rest:
        kind = MalformedRecording if finished else TruncatedRecording
        raise kind(f"{source.name} holds {size} bytes of samples, not a multiple of {encoding.sample_bytes}")
    if num_samples == 0:
        raise EmptyRecording(f"{source.name} has no samples")
    return num_samples


FORMAT = Format(
    name="wav",
    description="WAV with I and Q as two channels",
    read_header=read_header,
    suffixes=(".wav", ".rf64"),
    aliases=("wave",),
    recognizes=recognizes,
)
