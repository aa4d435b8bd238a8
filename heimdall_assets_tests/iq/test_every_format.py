"""Every format, in every encoding, at every kind of place: the same samples, to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from heimdall_assets.iq import FORMATS, load_iq, open_iq, open_location
from heimdall_assets.settings import load_settings
from heimdall_assets_tests.iq.specimens import COUNT, PLACES, SPECIMENS, Specimen, memory, placed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def empty_memory() -> Iterator[None]:
    yield
    memory().store.clear()


def test_there_is_a_specimen_of_every_format() -> None:
    assert {specimen.format for specimen in SPECIMENS} == {entry.name for entry in FORMATS} - {"sigmf-data"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda specimen: specimen.name)
def test_the_samples_are_those_of_the_definition(specimen: Specimen, place: str, tmp_path: Path) -> None:
    with open_iq(placed(specimen, place, tmp_path)) as recording:
        assert (recording.format, recording.num_samples) == (specimen.format, len(specimen.samples))
        samples = recording.read(0, 10 * COUNT)
        assert samples.dtype == np.complex64
        assert samples.tobytes() == specimen.samples.tobytes()
        # forward and backward, since compressed members are streams
        assert recording.read(100, 50).tobytes() == specimen.samples[100:150].tobytes()
        assert recording.read(17, 5).tobytes() == specimen.samples[17:22].tobytes()


@pytest.mark.parametrize("place", PLACES)
def test_header_and_name_say_the_same_at_every_place(place: str, tmp_path: Path) -> None:
    by_name = {specimen.name: specimen for specimen in SPECIMENS}
    auxi = load_iq(placed(by_name["wav-auxi"], place, tmp_path))
    assert (auxi.sample_rate_hz, auxi.center_frequency_hz) == (48_000.0, 145_500_000.0)
    kiwi = load_iq(placed(by_name["kiwi"], place, tmp_path))
    assert kiwi.center_frequency_hz == 77_500.0
    assert kiwi.start_time is not None
    assert kiwi.start_time.year == 2017
    sigmf = load_iq(placed(by_name["sigmf-ci16_be"], place, tmp_path))
    assert (sigmf.sample_rate_hz, sigmf.center_frequency_hz) == (48_000.0, 7e6)


@pytest.mark.parametrize(
    ("root", "place"),
    [
        ("{folder}", "path"),
        ("file://{folder}", "path"),
        ("memory://iq/session", "memory"),
        ("zip://session::{folder}/all.zip", "zip-deflated"),
        ("zip://session/::memory://iq/all.zip", "zip-in-memory"),
    ],
)
def test_a_location_is_read_below_a_root_of_every_kind(root: str, place: str, tmp_path: Path) -> None:
    settings = load_settings(iq_root=root.format(folder=tmp_path))
    for specimen in (SPECIMENS[0], SPECIMENS[-1], next(each for each in SPECIMENS if each.name == "sigmf-ci8")):
        placed(specimen, place, tmp_path)
        with open_location(specimen.opened, settings) as recording:
            assert recording.read(0, COUNT).tobytes() == specimen.samples.tobytes()
