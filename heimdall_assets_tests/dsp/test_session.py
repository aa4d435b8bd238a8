"""Figures of a session."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from heimdall_assets.dsp import FEATURES, extract_features, gdop, summarize
from heimdall_assets.records import Aggregate, InputIdentity, ReceiverFailure, ReceiverFeatures, Station
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ, noise, tone, with_snr

PLACES = [(45.0, 7.0), (46.0, 9.0), (44.0, 10.0), (45.5, 11.0)]
NOTHING: Aggregate = {"mean": None, "std": None, "min": None, "max": None}


def constant(value: float | None) -> Aggregate:
    return NOTHING if value is None else {"mean": value, "std": 0.0, "min": value, "max": value}


def receiver(
    index: int,
    *,
    present: float = 1.0,
    snr_db: float | None = 20.0,
    confidence: float | None = 1.0,
    place: tuple[float, float] | tuple[None, None] | None = None,
) -> ReceiverFeatures:
    latitude, longitude = PLACES[index] if place is None else place
    features = {feature.name: NOTHING for feature in FEATURES}
    features |= {
        "signal_present": constant(present),
        "snr_db": constant(snr_db),
        "confidence_score": constant(confidence),
    }
    return ReceiverFeatures(Station(f"r{index}", latitude, longitude), InputIdentity(UUID(int=index), "x"), features)


def failed(index: int) -> ReceiverFeatures:
    station = Station(f"r{index}", *PLACES[index])
    return ReceiverFeatures(
        station, InputIdentity(UUID(int=index), "x"), failure=ReceiverFailure("not_found", "gone", True)
    )


def test_receivers_with_a_signal_in_more_than_half_of_their_chunks_count() -> None:
    figures = summarize([receiver(0, present=0.6), receiver(1, present=0.5), receiver(2, present=0.0)], None)
    assert figures.num_receivers_detected == 1


def test_the_mean_snr_is_over_the_receivers_that_detected_and_have_one() -> None:
    receivers = [
        receiver(0, snr_db=10.0),
        receiver(1, snr_db=20.0),
        receiver(2, snr_db=None),
        receiver(3, present=0.2, snr_db=90.0),
    ]
    assert summarize(receivers, None).mean_snr_db == 15.0
    assert summarize([receiver(0, snr_db=None)], None).mean_snr_db is None


def test_the_dilution_is_over_the_receivers_with_a_signal_seen_from_the_source() -> None:
    receivers = [*(receiver(index) for index in range(3)), receiver(3, present=0.0)]
    assert summarize(receivers, (45.2, 8.0)).gdop == pytest.approx(gdop(PLACES[:3], (45.2, 8.0)))


def test_without_a_known_source_the_centroid_of_the_receivers_stands_for_it() -> None:
    figures = summarize([receiver(index) for index in range(4)], None)
    assert figures.gdop == pytest.approx(gdop(PLACES, np.mean(PLACES, axis=0)), rel=0.01)


def test_receivers_without_coordinates_do_not_spoil_the_dilution() -> None:
    receivers = [*(receiver(index) for index in range(3)), receiver(3, place=(None, None))]
    assert summarize(receivers, (45.2, 8.0)).gdop == pytest.approx(gdop(PLACES[:3], (45.2, 8.0)))
    assert summarize([receiver(index, place=(None, None)) for index in range(4)], None).gdop is None


def test_a_place_that_is_none_leaves_the_dilution_undefined() -> None:
    assert summarize([receiver(index) for index in range(3)], (123.0, 8.0)).gdop is None


def test_a_perfect_session_has_full_confidence() -> None:
    assert summarize([receiver(index) for index in range(4)], None).overall_confidence == pytest.approx(1)


def test_confidence_follows_the_formula() -> None:
    receivers = [receiver(0, snr_db=10.0, confidence=0.8), receiver(1, present=0.0), failed(2)]
    # one of three receivers; half of 20 dB; clarity 0.8
    assert summarize(receivers, None).overall_confidence == pytest.approx((0.5 + 0.25 * 0.5 + 0.25 * 0.8) / 3)


@pytest.mark.parametrize(
    "receivers",
    [
        [],
        [failed(0)],
        [receiver(0, present=0.0, snr_db=None)],
        [receiver(0, snr_db=-40.0, confidence=None)],
        [receiver(0, snr_db=1000.0)],
    ],
)
def test_confidence_is_always_between_0_and_1(receivers: list[ReceiverFeatures]) -> None:
    assert 0 <= summarize(receivers, None).overall_confidence <= 1


def test_no_usable_receiver_means_no_confidence() -> None:
    figures = summarize([failed(0), failed(1)], (45.0, 9.0))
    assert (figures.num_receivers_detected, figures.mean_snr_db, figures.overall_confidence, figures.gdop) == (
        0,
        None,
        0.0,
        None,
    )


def test_measured_receivers_are_summarised() -> None:
    rng = np.random.default_rng(1)
    receivers = []
    for index, place in enumerate(PLACES):
        carrier = with_snr(tone(1000.0 * index, LENGTH, RATE_HZ), 10, rng)
        features = extract_features(carrier if index < 3 else noise(rng, LENGTH), RATE_HZ)
        receivers.append(ReceiverFeatures(Station(f"r{index}", *place), InputIdentity(UUID(int=index), "x"), features))
    figures = summarize(receivers, (45.2, 8.0))
    assert figures.num_receivers_detected == 3
    assert figures.mean_snr_db == pytest.approx(10, abs=0.1)
    assert 0.5 < figures.overall_confidence < 0.75
