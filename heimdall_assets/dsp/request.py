"""What a caller asks for, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.dsp.front_end import FrontEnd
from heimdall_assets.dsp.grid import MIN_CHUNK_LENGTH
from heimdall_assets.dsp.passband import Passband
from heimdall_assets.dsp.response import Response
from heimdall_assets.errors import BadParameter, TooShort

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MAX_GAIN_DB = 300.0
"""A response in dB is smaller than this, whatever its sign: a power of it is still a number."""


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of :func:`heimdall_assets.dsp.analyze`, all inside their ranges."""

    sample_rate_hz: float
    chunk_duration_ms: float
    num_chunks: int | None
    false_alarm_probability: float
    calibration_db: float
    front: FrontEnd
    remove_dc: bool

    @classmethod
    def checked(
        cls,
        *,
        sample_rate_hz: float,
        chunk_duration_ms: float,
        num_chunks: int | None,
        false_alarm_probability: float,
        calibration_db: float,
        passband_hz: tuple[float, float] | None,
        remove_dc: bool,
        response: ArrayLike | None,
    ) -> Request:
        """Check the arguments.

        Raises
        ------
        BadParameter
            One of them is outside its range.
        TooShort
            Chunks would have fewer than 1024 samples.
        """
        rate = _number("sample_rate_hz", sample_rate_hz)
        duration = _number("chunk_duration_ms", chunk_duration_ms)
        if not rate > 0:
            raise BadParameter(f"{sample_rate_hz=} must be above 0")
        if not duration > 0:
            raise BadParameter(f"{chunk_duration_ms=} must be above 0")
        if num_chunks is not None and not _is_count(num_chunks):
            raise BadParameter(f"{num_chunks=} must be a whole number of at least 1, or None for all")
        probability = _number("false_alarm_probability", false_alarm_probability)
        if not 0 < probability < 0.5:
            raise BadParameter(f"{false_alarm_probability=} must be above 0 and below 0.5")
        request = cls(
            rate,
            duration,
            None if num_chunks is None else int(num_chunks),
            probability,
            _number("calibration_db", calibration_db),
            FrontEnd(_passband(passband_hz, rate), _response(response)),
            bool(remove_dc),
        )
        if request.chunk_length < MIN_CHUNK_LENGTH:
            raise TooShort(
                f"a chunk of {chunk_duration_ms=} at {sample_rate_hz=} has {request.chunk_length} samples; "
                f"at least {MIN_CHUNK_LENGTH} are needed"
            )
        return request

    @property
    def chunk_length(self) -> int:
        """Samples in a full chunk."""
        return samples_per_chunk(self.sample_rate_hz, self.chunk_duration_ms)


def samples_per_chunk(sample_rate_hz: float, chunk_duration_ms: float) -> int:
    """Samples in a full chunk; a product that misses a whole number by rounding alone counts as that."""
    product = sample_rate_hz * chunk_duration_ms / 1000
    nearest = round(product)
    return nearest if math.isclose(product, nearest, rel_tol=1e-12) else math.floor(product)


def _is_count(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)


def _number(name: str, value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadParameter(f"{name}={value!r} is not a number") from None
    if not math.isfinite(number):
        raise BadParameter(f"{name}={value!r} is not finite")
    return number


def _passband(passband_hz: tuple[float, float] | None, rate: float) -> Passband | None:
    if passband_hz is None:
        return None
    try:
        low, high = passband_hz
    except (TypeError, ValueError):
        raise BadParameter(f"{passband_hz=} must be a pair of frequencies in Hz, or None") from None
    low, high = _number("passband_hz[0]", low), _number("passband_hz[1]", high)
    if not (low < high and low < rate / 2 and high > -rate / 2):
        raise BadParameter(f"{passband_hz=} must rise and lie within +-{rate / 2:g} Hz, half of the sample rate")
    return Passband(max(low, -rate / 2), min(high, rate / 2), is_estimated=False)


def _response(response: ArrayLike | None) -> Response | None:
    if response is None:
        return None
    try:
        pairs = np.asarray(response, np.float64)
    except (TypeError, ValueError):
        raise BadParameter("response must be pairs (offset_hz, response_db) of numbers, or None") from None
    if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) < 1:
        raise BadParameter(f"response of shape {pairs.shape} must be pairs (offset_hz, response_db), shape (n, 2)")
    if not np.isfinite(pairs).all():
        raise BadParameter("response holds values that are not finite")
    if (wrong := np.flatnonzero(np.diff(pairs[:, 0]) <= 0)).size:
        after = int(wrong[0]) + 1
        raise BadParameter(f"response: offset {pairs[after, 0]:g} Hz follows {pairs[after - 1, 0]:g} Hz; offsets rise")
    if (large := np.flatnonzero(np.abs(pairs[:, 1]) > MAX_GAIN_DB)).size:
        raise BadParameter(f"response: {pairs[large[0], 1]:g} dB is not within +-{MAX_GAIN_DB:g} dB")
    return Response(tuple(pairs[:, 0].tolist()), tuple(pairs[:, 1].tolist()), is_estimated=False)
