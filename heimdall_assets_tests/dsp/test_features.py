"""The registry."""

from __future__ import annotations

import pytest

from heimdall_assets.dsp import FEATURES, Feature

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
    assert feature.source.endswith(".")
    suffix = feature.name.rpartition("_")[2]
    expected = "dBm/Hz" if feature.name == "psd_dbm_per_hz" else UNITS.get(suffix, "")
    assert feature.unit == expected
