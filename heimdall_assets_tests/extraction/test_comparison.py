"""Pairs of old and new figures, and what is said over them."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdall_assets.dsp import FEATURES
from heimdall_assets.extraction.comparison import WHY, compare_feature, match_receivers
from heimdall_assets.extraction.stored import StoredReceiver, front_end_of, inputs_of, mean_of, receivers_of
from heimdall_assets.records import FeaturePairs, InputIdentity, ReceiverFeatures, Station

NAN = float("nan")
IDS = tuple(uuid.UUID(int=index) for index in range(8))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["mean", "snr_db", "x"]), inner),
    max_leaves=12,
)


def pairs(old: list[float], new: list[float]) -> FeaturePairs:
    """An SNR's pairs."""
    receivers = tuple(f"RX{index}" for index in range(len(old)))
    return FeaturePairs("snr_db", "dB", IDS[: len(old)], receivers, np.array(old), np.array(new))


def test_medians_quartiles_the_worst_and_the_nulls_are_those_of_the_pairs() -> None:
    found = compare_feature(pairs([8.0, 8.0, 10.0, 20.0, 8.0, NAN, NAN], [-4.0, 2.0, 10.0, 20.004, NAN, 3.0, NAN]))
    assert (found.receivers, found.both, found.old_only, found.new_only) == (7, 4, 1, 1)
    assert (found.median_old, found.median_new) == (8.0, 3.0)
    # differences -12, -6, 0, 0.004
    assert found.median_difference == pytest.approx(-3.0)
    assert found.lower_quartile == pytest.approx(-7.5)
    assert found.upper_quartile == pytest.approx(0.001)
    assert found.worst is not None
    assert (found.worst.session_id, found.worst.receiver, found.worst.difference) == (IDS[0], "RX0", -12.0)
    assert found.differing == 4  # 20 and 20.004 are the same figure
    assert found.why == WHY["snr_db"]


def test_of_no_receivers_and_of_equal_ones_there_is_nothing_to_say() -> None:
    nothing = compare_feature(pairs([], []))
    assert (nothing.receivers, nothing.median_old, nothing.worst, nothing.why) == (0, None, None, None)
    equal = compare_feature(pairs([1.0, NAN], [1.0, NAN]))
    assert (equal.differing, equal.why) == (0, None)


def test_there_is_one_sentence_a_feature() -> None:
    assert list(WHY) == [feature.name for feature in FEATURES]
    assert all(sentence.endswith(".") and sentence.count(". ") == 0 for sentence in WHY.values())


@pytest.mark.parametrize(
    ("value", "mean"),
    [
        ({"mean": 8.3, "std": 1}, 8.3),
        ({"avg": "8.3"}, 8.3),
        (8.3, 8.3),
        ("8.3", 8.3),
        (True, 1.0),
        ([1.0, None, "NaN", 3.0], 2.0),
        ({"mean": None}, None),
        ({"mean": NAN}, None),
        ("NaN", None),
        (1e400, None),
        (10**400, None),
        ("eight", None),
        ([], None),
        ({}, None),
        (None, None),
    ],
)
def test_a_mean_is_read_from_whatever_other_code_wrote(value: object, mean: float | None) -> None:
    assert mean_of(value) == mean


@pytest.mark.parametrize(
    "content",
    [
        {"snr_db": {"mean": 5}},
        {"snr_db_mean": 5},
        {"features": {"snr_db": 5}},
        {"features": {"power": {"snr_db": {"mean": 5}}}},
        {"snr_db": 5, "old": {"snr_db": 7}},  # the nearer one counts
    ],
)
def test_a_feature_is_found_however_it_was_nested(content: dict[str, Any]) -> None:
    (receiver,) = receivers_of({"receiver_features": [content]})
    assert receiver.mean_of("snr_db") == 5.0


@given(st.lists(st.dictionaries(st.sampled_from(["rx_id", "rx_lat", "error", "snr_db", "features"]), JSON)), JSON)
def test_no_row_breaks_the_reading(receivers: list[dict[str, Any]], inputs: Any) -> None:
    row = {"receiver_features": receivers, "extraction_metadata": {"receivers": inputs}}
    for receiver in receivers_of(row):
        mean = receiver.mean_of("snr_db")
        assert mean is None or np.isfinite(mean)
        aggregate = receiver.aggregate_of("snr_db", "std")
        assert aggregate is None or np.isfinite(aggregate)
    assert all(isinstance(name, str) for name in inputs_of(row))


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        (
            {
                "passband_hz": [-491.08, 493.96],
                "passband_origin": "estimated",
                "response_db": [[-100.0, -2.5], [0.0, 0.5], [100.0, 0.0]],
                "response_origin": "given",
            },
            "passband -491.08 to 493.96 Hz (estimated), response varies by 3.0 dB (given)",
        ),
        (
            {"passband_hz": None, "passband_origin": "none", "response_db": None, "response_origin": "none"},
            "no filter, flat response",
        ),
        ({"passband_hz": [-1, 1], "passband_origin": "given"}, "passband -1 to 1 Hz (given)"),  # version 2
        ({"remarks": []}, ""),
        (["passband_hz"], ""),
        (None, ""),
    ],
)
def test_what_the_figures_are_based_on_is_one_phrase(notes: object, said: str) -> None:
    assert front_end_of(notes) == said


@given(st.dictionaries(st.sampled_from(["passband_hz", "passband_origin", "response_db", "response_origin"]), JSON))
def test_no_notes_break_the_phrase(notes: dict[str, Any]) -> None:
    assert isinstance(front_end_of(notes), str)


def stored(name: str | None, latitude: float | None = None, longitude: float | None = None) -> StoredReceiver:
    """A receiver as other code knew it."""
    return StoredReceiver(name, latitude, longitude, None, {})


def computed(name: str, latitude: float | None = None, longitude: float | None = None) -> ReceiverFeatures:
    """A receiver as we know it."""
    return ReceiverFeatures(Station(name, latitude, longitude), InputIdentity(uuid.UUID(int=0), "x"))


def matched(old: list[StoredReceiver], new: list[ReceiverFeatures]) -> dict[str | None, str]:
    """Old name -> the station's."""
    return {then.name: now.station.name for then, now in match_receivers(old, new)}


def test_receivers_are_matched_by_name_then_by_its_letters_then_by_place() -> None:
    old = [stored("RX-1"), stored("rx 2"), stored("17", 45.0, 7.0), stored("nobody", 1.0, 1.0), stored(None)]
    new = [computed("RX 2"), computed("RX-1"), computed("Torino", 45.0004, 7.0), computed("Elsewhere")]
    assert matched(old, new) == {"RX-1": "RX-1", "rx 2": "RX 2", "17": "Torino"}


def test_a_match_that_is_not_the_only_one_is_none() -> None:
    two_near = [computed("A", 45.0, 7.0), computed("B", 45.0, 7.0)]
    assert matched([stored("x", 45.0, 7.0)], two_near) == {}
    assert matched([stored("rx1"), stored("RX 1")], [computed("RX1")]) == {}
    assert matched([stored("RX1"), stored("RX1")], [computed("RX1")]) == {}
    # a name decides before a place does
    assert matched([stored("B", 45.0, 7.0)], two_near) == {"B": "B"}
