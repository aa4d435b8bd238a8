"""How right the figures of narrow filters and of lost samples are: the accuracy report's rows, made smaller."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall_assets_tests.dsp.receiver_trials import KIWI_RATE_HZ, filter_readings, gap_readings
from heimdall_assets_tests.dsp.signals import LENGTH, RATE_HZ

SIGNALS = ("carrier", "qpsk", "fm")


@pytest.mark.parametrize("rate_hz", [KIWI_RATE_HZ, RATE_HZ])
@pytest.mark.parametrize("share", [0.03, 0.12, 0.5, 0.97])
def test_noise_in_a_filter_of_any_width_is_no_signal(share: float, rate_hz: float) -> None:
    readings = filter_readings((None,), share, rate_hz, 40 if rate_hz == KIWI_RATE_HZ else 4, seed=1)
    assert not readings.is_present.any()
    assert readings.is_null.all()


@pytest.mark.parametrize("share", [0.03, 0.08, 0.12, 0.2, 0.35, 0.5, 0.7, 0.85, 0.93, 0.97])
def test_signals_in_a_filter_of_any_width_are_measured_or_null(share: float) -> None:
    readings = filter_readings(SIGNALS, share, KIWI_RATE_HZ, 60, seed=1)
    # in a twelfth of 12 kHz a modulated signal of 5 dB leaves a dozen bands of noise to measure the floor in
    assert readings.is_wrong.mean() <= (0.02 if share > 0.1 else 0.1)
    assert not (readings.snr_db > 60).any()


@pytest.mark.parametrize("share", [0.06, 0.3, 0.85])
def test_signals_in_a_filter_of_a_wide_receiver_are_measured_or_null(share: float) -> None:
    readings = filter_readings(SIGNALS, share, RATE_HZ, 15, seed=1)
    assert readings.is_wrong.sum() <= 1
    assert not (readings.snr_db > 60).any()


@pytest.mark.parametrize("pieces", [1, 3, 8, 20])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(("length", "count"), [(LENGTH, 3), (2400, 15)])
def test_lost_samples_leave_the_snr_of_the_others_or_null(share: float, pieces: int, length: int, count: int) -> None:
    readings = gap_readings(30.0, share, pieces, length, count, seed=1)
    assert readings.has_reason[readings.is_null].all()
    if not readings.is_null.all():
        assert np.nanmean(readings.error_db) == pytest.approx(0, abs=0.3)
