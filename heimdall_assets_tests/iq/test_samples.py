"""Encodings of samples against their definition, to the last bit."""

from __future__ import annotations

import struct
import warnings

import numpy as np
import pytest

from heimdall_assets.iq.samples import CF32, CF64, CS8, CS16, CS24, CS32, CU8, Encoding
from heimdall_assets_tests.iq.builders import components, expected


@pytest.mark.parametrize(
    ("encoding", "dtype", "full_scale", "midpoint"),
    [
        (CS8, "i1", 128.0, 0.0),
        (CU8, "u1", 127.5, 127.5),
        (CS16, "<i2", 32768.0, 0.0),
        (CS32, "<i4", 2147483648.0, 0.0),
        (Encoding(">i2", 32768.0), ">i2", 32768.0, 0.0),
    ],
)
def test_integers_are_scaled_to_full_scale_one_to_the_last_bit(
    encoding: Encoding, dtype: str, full_scale: float, midpoint: float
) -> None:
    values = components(5000, dtype)
    assert encoding.sample_bytes == 2 * np.dtype(dtype).itemsize
    assert np.array_equal(encoding.decode(values.tobytes()), expected(values, full_scale, midpoint))


def test_every_value_of_an_rtl_sdr_byte_maps_to_its_definition() -> None:
    every = np.arange(256, dtype=np.uint8)
    decoded = CU8.decode(np.repeat(every, 2).tobytes())
    assert np.array_equal(decoded.real, ((every - 127.5) / 127.5).astype(np.float32))
    assert (decoded.real[0], decoded.real[255]) == (-1.0, 1.0)


@pytest.mark.parametrize("order", ["little", "big"])
def test_24_bit_integers_keep_their_sign_in_either_byte_order(order: str) -> None:
    numbers = [-(1 << 23), -1, 0, 1, (1 << 23) - 1, 0x123456, -0x123456, 77]
    raw = b"".join(number.to_bytes(3, order, signed=True) for number in numbers)  # type: ignore[arg-type]
    decoded = Encoding(CS24.code.replace("<", "<" if order == "little" else ">"), CS24.full_scale).decode(raw)
    assert np.array_equal(decoded, expected(np.array(numbers), float(1 << 23)))


def test_single_floats_pass_unchanged_and_doubles_are_rounded_once() -> None:
    values = components(100, "<f8")
    assert np.array_equal(CF64.decode(values.tobytes()), expected(values))
    single = values.astype("<f4")
    assert CF32.decode(single.tobytes()).tobytes() == single.tobytes()


def test_doubles_too_large_for_single_precision_become_infinite_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = CF64.decode(struct.pack("<4d", 1e300, -1e300, float("nan"), 0.0))
    assert decoded[0].real == np.inf
    assert decoded[0].imag == -np.inf
    assert np.isnan(decoded[1].real)


@pytest.mark.parametrize("encoding", [CF32, CF64, CS8, CU8, CS16, CS24, CS32])
def test_decoded_samples_are_in_single_precision_and_those_that_were_so_are_not_copied(encoding: Encoding) -> None:
    raw = bytes(4 * encoding.sample_bytes)
    decoded = encoding.decode(raw)
    assert decoded.dtype == np.complex64
    assert decoded.shape == (4,)
    assert np.shares_memory(decoded, np.frombuffer(raw, np.uint8)) == (encoding is CF32)
