"""The registry."""

from __future__ import annotations

import re

import numpy as np
import pytest

from heimdall_assets.dsp import FEATURES, REFERENCES, Feature, extract_features

NAMES = [
    "rssi_dbm",
    "snr_db",
    "noise_floor_dbm",
    "frequency_offset_hz",
    "bandwidth_hz",
    "psd_dbm_per_hz",
    "spectral_centroid_hz",
    "spectral_rolloff_hz",
    "envelope_mean",
    "envelope_std",
    "envelope_max",
    "peak_to_avg_ratio_db",
    "zero_crossing_rate",
    "multipath_delay_spread_us",
    "coherence_bandwidth_khz",
    "delay_spread_confidence",
    "signal_present",
    "confidence_score",
]

UNITS = {"dbm": "dBm", "db": "dB", "hz": "Hz", "us": "us", "khz": "kHz"}


def test_the_registry_has_the_18_features_in_order() -> None:
    assert [feature.name for feature in FEATURES] == NAMES


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_every_feature_says_what_it_is_and_where_it_comes_from(feature: Feature) -> None:
    assert feature.description.endswith(".")
    assert feature.estimator.endswith(".")
    assert feature.source.endswith(".")
    assert not feature.null_when.endswith(".")
    suffix = feature.name.rpartition("_")[2]
    expected = "dBm/Hz" if feature.name == "psd_dbm_per_hz" else UNITS.get(suffix, "")
    assert feature.unit == expected


CITATION = re.compile(r"ITU-R SM\.\d+|[A-Z][a-zü]+(?:-[A-Z][a-z]+)? \d{4}")


def test_every_work_that_a_source_names_is_among_the_references_and_the_other_way_round() -> None:
    named = {name for feature in FEATURES for name in CITATION.findall(feature.source)}
    assert named == set(REFERENCES)
    for name, work in REFERENCES.items():
        assert work.endswith(".")
        assert all(word in work for word in name.split())


def test_features_that_say_they_are_never_null_have_a_value_in_noise_and_those_of_signals_have_none() -> None:
    noise = np.random.default_rng(1).standard_normal((40_000, 2)) @ (1, 1j)
    means = {name: aggregate["mean"] for name, aggregate in extract_features(noise, 200e3).items()}
    for feature in FEATURES:
        if not feature.null_when:
            assert means[feature.name] is not None
        elif "no signal" in feature.null_when or "waveform" in feature.null_when:
            assert means[feature.name] is None
