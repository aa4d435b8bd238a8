"""Which samples of a recording are measured, and at which sample rate: with what is assumed, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heimdall_assets.errors import TruncatedRecording

if TYPE_CHECKING:
    from heimdall_assets.iq.opening import IQFile


@dataclass(frozen=True, slots=True)
class Stretch:
    """The samples of a recording that are measured: the first ones.

    Attributes
    ----------
    sample_rate_hz : float
        The recording's, or the default.
    chunk_length : int
        Samples in a chunk.
    num_samples : int
        Samples that are wanted; the recording may have fewer.
    remarks : tuple of str
        What is assumed, unknown or left out, a sentence each.
    """

    sample_rate_hz: float
    chunk_length: int
    num_samples: int
    remarks: tuple[str, ...]


def stretch_of(recording: IQFile, *, default_sample_rate_hz: float, chunk_ms: float, num_chunks: int | None) -> Stretch:
    """Find the samples of the first chunks, all of them where ``num_chunks`` is None.

    Where the receiver is tuned elsewhere within these chunks, only those before that are taken, if there is one whole
    chunk of them.

    Raises
    ------
    TruncatedRecording
        The recording was cut before the end of the chunks.
    """
    remarks = recording.remarks
    rate_hz = recording.sample_rate_hz
    if rate_hz is None:
        rate_hz = default_sample_rate_hz
        remarks += (assumed_rate(rate_hz),)
    length = int(rate_hz * chunk_ms / 1000)
    wanted = recording.num_samples if num_chunks is None else length * num_chunks
    steady = recording.steady_samples
    if steady is not None and steady < min(wanted, recording.num_samples):
        if steady >= max(1, length):
            wanted = steady
            remarks += (f"only the first {steady} samples are measured: the receiver is tuned elsewhere after them",)
        else:
            remarks += (f"the receiver is tuned elsewhere after {steady} samples, within the first chunk",)
    if recording.missing_samples and wanted > recording.num_samples:
        raise TruncatedRecording(
            f"the recording was cut: it has {recording.num_samples} samples, {recording.missing_samples} more are "
            f"announced, and {wanted} are needed"
        )
    return Stretch(rate_hz, length, wanted, tuple(sentence(remark) for remark in remarks))


def sentence(remark: str) -> str:
    """A phrase as a sentence."""
    return f"{remark[:1].upper()}{remark[1:]}."


def assumed_rate(sample_rate_hz: float) -> str:
    """The phrase for a default."""
    return f"the sample rate of {sample_rate_hz:.10g} Hz is assumed: neither header, measurement nor name states one"
