"""How a file's format is found: content, then hint, then suffix."""

from __future__ import annotations

import pytest

from heimdall_assets.errors import UnknownFormat
from heimdall_assets.iq import FORMATS
from heimdall_assets.iq.formats import find_format
from heimdall_assets.iq.header import Hints
from heimdall_assets_tests.iq.builders import MemorySource, kiwi, npy, wav

NPY = npy("<c8", (4,), bytes(32))
KIWI = kiwi(2)[0]
WAV = wav(bytes(64))


def found(content: bytes, name: str = "x", hint: str | None = None) -> str:
    return find_format(MemorySource(content, name), Hints(format=hint)).name


def test_the_names_are_those_of_the_command_line() -> None:
    assert {"cf32", "cs16", "cs8", "cu8", "npy", "wav"} <= {entry.name for entry in FORMATS}
    assert all(entry.description for entry in FORMATS)


@pytest.mark.parametrize(("content", "name"), [(NPY, "npy"), (KIWI, "kiwi"), (WAV, "wav")])
@pytest.mark.parametrize("hint", [None, "npy", "wav", "kiwi", "cf32", "nonsense", ""])
@pytest.mark.parametrize("suffix", ["", ".npy", ".wav", ".cf32", ".txt"])
def test_content_wins_over_hint_and_suffix(content: bytes, name: str, hint: str | None, suffix: str) -> None:
    assert found(content, f"x{suffix}", hint) == name


@pytest.mark.parametrize(
    ("name", "hint", "expected"),
    [
        ("x.cf32", None, "cf32"),
        ("x.cf32", "cs16", "cs16"),
        ("x.npy", "cu8", "cu8"),
        ("x", " CS8 ", "cs8"),
        ("x", "complex64", "cf32"),
        ("x", "ci16_le", "cs16"),
        ("x.CU8", "", "cu8"),
    ],
)
def test_where_the_content_does_not_tell_the_hint_wins_over_the_suffix(
    name: str, hint: str | None, expected: str
) -> None:
    assert found(bytes(64), name, hint) == expected


@pytest.mark.parametrize("hint", ["npy", "wav", "kiwi", "NumPy"])
def test_a_hint_that_the_content_belies_is_refused(hint: str) -> None:
    with pytest.raises(UnknownFormat, match=f"though the format is given as '{hint}': its content does not look"):
        found(bytes(64), "x.cf32", hint)


@pytest.mark.parametrize("name", ["x.npy", "x.wav"])
def test_a_suffix_that_the_content_belies_is_refused(name: str) -> None:
    with pytest.raises(UnknownFormat, match="though the name ends in"):
        found(bytes(64), name)


@pytest.mark.parametrize(("name", "hint"), [("x", None), ("x.iq", None), ("x.raw", ""), ("x.cf32", "mp3")])
def test_where_nothing_tells_the_known_formats_are_listed(name: str, hint: str | None) -> None:
    with pytest.raises(UnknownFormat, match=r"no known format: .*\(npy, kiwi, wav, .*cf32, cs16, cs8, cu8"):
        found(bytes(64), name, hint)


def test_a_file_shorter_than_any_magic_is_told_by_its_suffix() -> None:
    assert found(b"\1\2", "x.cu8") == "cu8"
