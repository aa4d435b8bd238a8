"""The synthetic network is what it says: its powers, noise, clocks, delays, files and faults."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heimdall_assets.errors import SettingError
from heimdall_assets.synthetic import (
    MODULATIONS,
    RECEIVERS,
    TRANSMITTERS,
    Fault,
    Receiver,
    SyntheticNetwork,
    SyntheticSession,
    Transmitter,
    free_space_loss_db,
    received,
    reception,
    slant_range_m,
)

if TYPE_CHECKING:
    from pathlib import Path

ComplexSamples = NDArray[np.complex64]
SAMPLE_RATE_HZ = 200_000.0


def power_dbm(samples: ComplexSamples) -> float:
    return float(10 * np.log10(np.mean(np.abs(samples.astype(np.complex128)) ** 2)) + 30)


def transmitter(modulation: str, power_dbm: float | None = None) -> Transmitter:
    found = next(one for one in TRANSMITTERS if one.modulation == modulation)
    return found if power_dbm is None else replace(found, power_dbm=power_dbm)


def great_circle_m(first: Receiver, second: Transmitter) -> float:
    """Haversine on a sphere of the mean radius, and the altitudes: right within 0.5 %, or 0.05 dB."""
    phi_1, phi_2 = math.radians(first.latitude), math.radians(second.latitude)
    half_lam = math.radians(second.longitude - first.longitude) / 2
    square = math.sin((phi_2 - phi_1) / 2) ** 2 + math.cos(phi_1) * math.cos(phi_2) * math.sin(half_lam) ** 2
    return math.hypot(2 * 6_371_009 * math.asin(math.sqrt(square)), second.altitude_m - first.altitude_m)


@pytest.fixture
def brief_network() -> SyntheticNetwork:
    return SyntheticNetwork(seed=5, num_receivers=3, duration_s=0.2)


def session_with(network: SyntheticNetwork, fault: Fault | None) -> SyntheticSession:
    return next(session for session in network.sessions(40) if session.fault is fault)


# Propagation


def test_slant_range_from_pole_to_equator_is_that_of_the_ellipsoids_axes() -> None:
    expected_m = math.hypot(6_378_137.0, 6_356_752.3142)  # NGA.STND.0036: a and b
    assert slant_range_m((90, 0, 0), (0, 30, 0)) == pytest.approx(expected_m, abs=0.001)


def test_slant_range_straight_up_is_the_difference_of_altitudes() -> None:
    assert slant_range_m((45, 7, 100), (45, 7, 1350)) == pytest.approx(1250, abs=1e-6)


@pytest.mark.parametrize(("distance_km", "frequency_mhz"), [(1, 145), (37, 433), (150, 1296)])
def test_free_space_loss_is_that_of_itu_r_p525(distance_km: float, frequency_mhz: float) -> None:
    expected_db = 32.4 + 20 * math.log10(frequency_mhz) + 20 * math.log10(distance_km)
    assert free_space_loss_db(distance_km * 1e3, frequency_mhz * 1e6) == pytest.approx(expected_db, abs=0.05)


@pytest.mark.parametrize("index", range(len(TRANSMITTERS)))
def test_strong_signals_arrive_with_the_power_that_free_space_predicts(index: int) -> None:
    network = SyntheticNetwork(seed=3)
    session = network.sessions(len(TRANSMITTERS))[index]
    heard = 0
    for (receiver, samples), truth in zip(network.recordings(session), network.truth(session), strict=True):
        distance_m = great_circle_m(receiver, session.transmitter)
        frequency_hz = session.transmitter.frequency_hz
        loss_db = 20 * math.log10(distance_m) + 20 * math.log10(frequency_hz) - 147.55
        duty_db = 10 * math.log10(MODULATIONS[session.transmitter.modulation].duty)
        predicted_dbm = session.transmitter.power_dbm - loss_db + duty_db
        assert truth.signal_dbm == pytest.approx(predicted_dbm, abs=0.06)
        assert truth.delay_s == pytest.approx(distance_m / 299_792_458, rel=0.006)
        assert power_dbm(samples) == pytest.approx(truth.rssi_dbm, abs=0.05)
        if truth.snr_db > 20:
            assert power_dbm(samples) == pytest.approx(predicted_dbm, abs=0.15)
            heard += 1
    assert heard > 0 or session.transmitter.modulation in {"qpsk", "nbfm"}  # weak everywhere on purpose


def test_levels_are_those_of_real_receivers_and_reach_below_the_noise() -> None:
    network = SyntheticNetwork(seed=3)
    truths = [truth for session in network.sessions(len(TRANSMITTERS)) for truth in network.truth(session)]
    assert all(-125 < truth.rssi_dbm < -50 for truth in truths)
    assert min(truth.snr_db for truth in truths) < 0
    assert max(truth.snr_db for truth in truths) > 40


@pytest.mark.parametrize("sample_rate_hz", [48_000.0, 200_000.0])
def test_without_a_signal_the_noise_is_white_and_ktb_with_the_noise_figure(sample_rate_hz: float) -> None:
    silent = transmitter("cw", power_dbm=-300.0)
    for receiver in RECEIVERS[:3]:
        samples = received(silent, receiver, seed=11, sample_rate_hz=sample_rate_hz)
        expected_dbm = -173.975 + 10 * math.log10(sample_rate_hz) + receiver.noise_figure_db  # k 290 K in dBm/Hz
        assert power_dbm(samples) == pytest.approx(expected_dbm, abs=5 * 4.34 / math.sqrt(samples.size))
        quarters = np.sum(np.abs(np.fft.fft(samples.reshape(-1, samples.size))).reshape(4, -1) ** 2, axis=1)
        assert 10 * np.log10(quarters / np.mean(quarters)) == pytest.approx(np.zeros(4), abs=0.2)
        assert abs(np.mean(samples.real * samples.imag)) < 0.02 * np.mean(np.abs(samples) ** 2)


def test_receivers_noise_is_independent() -> None:
    silent = transmitter("cw", power_dbm=-300.0)
    first, second = (received(silent, receiver, seed=11) for receiver in RECEIVERS[:2])
    correlation = abs(np.vdot(first, second)) / (np.linalg.norm(first) * np.linalg.norm(second))
    assert correlation < 5 / math.sqrt(first.size)


@pytest.mark.parametrize("receiver", RECEIVERS[:7], ids=lambda receiver: str(receiver.name))
def test_a_carrier_is_off_by_the_clocks_error_and_drifts_as_told(receiver: Receiver) -> None:
    strong = transmitter("cw", power_dbm=60.0)
    samples = received(strong, receiver, seed=17)
    truth = reception(strong, receiver, seed=17)
    time_s = (np.arange(samples.size) - samples.size / 2) / SAMPLE_RATE_HZ
    cycles = np.unwrap(np.angle(samples)) / (2 * np.pi)
    half_drift, offset_hz, start = np.polyfit(time_s, cycles, 2)
    # Cramer-Rao bound at 40 dB: 0.9 mHz for the offset (Rife and Boorstyn 1974), some times that for the drift.
    assert offset_hz == pytest.approx(truth.frequency_offset_hz, abs=0.005)
    assert 2 * half_drift == pytest.approx(truth.drift_hz_per_s, abs=0.02)
    assert math.cos(2 * np.pi * start - truth.phase_rad) == pytest.approx(1, abs=1e-3)
    expected_hz = -receiver.clock_ppm * 1e-6 * strong.frequency_hz
    assert offset_hz == pytest.approx(expected_hz, abs=5 * 0.05e-6 * strong.frequency_hz)


def test_a_clock_wanders_from_session_to_session() -> None:
    offsets_hz = [reception(transmitter("cw"), RECEIVERS[0], seed=seed).frequency_offset_hz for seed in range(200)]
    assert np.std(offsets_hz) == pytest.approx(0.05e-6 * 144_462_500, rel=0.2)  # 7.2 Hz; 200 draws: +-5 %


def test_receivers_hear_the_same_waveform_with_the_delay_of_their_distances() -> None:
    strong = transmitter("qpsk", power_dbm=90.0)
    spectra, delays_s = [], []
    for receiver in (RECEIVERS[0], RECEIVERS[6]):
        truth = reception(strong, receiver, seed=23)
        samples = received(strong, receiver, seed=23)
        time_s = (np.arange(samples.size) - samples.size / 2) / SAMPLE_RATE_HZ
        cycles = truth.frequency_offset_hz * time_s + truth.drift_hz_per_s / 2 * time_s**2
        spectra.append(np.fft.fft(samples * np.exp(-2j * np.pi * cycles) * np.hanning(samples.size)))
        delays_s.append(truth.delay_s)
    difference_s = delays_s[1] - delays_s[0]
    assert abs(difference_s) * SAMPLE_RATE_HZ > 30  # Giaveno is 58 km farther from Mottarone than Milano-Baggio
    frequency_hz = np.fft.fftfreq(spectra[0].size, 1 / SAMPLE_RATE_HZ)
    band = np.abs(frequency_hz) < 8000
    cross = (spectra[1] * np.conj(spectra[0]) * np.exp(2j * np.pi * frequency_hz * difference_s))[band]
    cross *= np.conj(np.sum(cross)) / abs(np.sum(cross))
    slope = np.sum(frequency_hz[band] * cross.imag) / np.sum(frequency_hz[band] ** 2 * cross.real)
    assert abs(slope / (2 * np.pi)) < 0.02 / SAMPLE_RATE_HZ


# Waveforms


@pytest.mark.parametrize("name", MODULATIONS)
@pytest.mark.parametrize("sample_rate_hz", [48_000.0, 200_000.0, 250_001.0])
def test_waveforms_have_unit_power_while_keyed(name: str, sample_rate_hz: float) -> None:
    modulation = MODULATIONS[name]
    num_samples = round(sample_rate_hz)
    waveform = modulation.waveform(np.random.default_rng(2), num_samples, sample_rate_hz)
    assert waveform.dtype == np.complex64
    assert waveform.shape == (num_samples,)
    assert np.mean(np.abs(waveform) ** 2) == pytest.approx(modulation.duty, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "least_hz", "most_hz"),
    [
        ("cw", 0, 10),
        ("nbfm", 3_000, 11_000),  # Carson: 2 (2.5 kHz + 3 kHz)
        ("fm_repeater", 3_000, 11_000),
        ("qpsk", 18_000, 24_300),  # from the symbol rate to 1.35 times it
        ("4fsk", 3_888, 7_600),  # from twice 1944 Hz to DMR's emission designator, 7K60
        ("packet", 4_000, 12_000),
    ],
)
def test_waveforms_occupy_their_channel(name: str, least_hz: float, most_hz: float) -> None:
    waveform = MODULATIONS[name].waveform(np.random.default_rng(2), 200_000, SAMPLE_RATE_HZ)
    spectrum = np.fft.fftshift(np.abs(np.fft.fft(waveform)) ** 2)
    share = np.cumsum(spectrum) / np.sum(spectrum)
    occupied_hz = np.searchsorted(share, 0.995) - np.searchsorted(share, 0.005)  # ITU-R SM.328; 1 Hz a bin
    assert least_hz <= occupied_hz <= most_hz


def test_a_repeater_carries_its_tone() -> None:
    waveform = MODULATIONS["fm_repeater"].waveform(np.random.default_rng(2), 200_000, SAMPLE_RATE_HZ)
    frequency_hz = np.angle(waveform[1:] * np.conj(waveform[:-1])) * SAMPLE_RATE_HZ / (2 * np.pi)
    audio = np.abs(np.fft.rfft(frequency_hz * np.hanning(frequency_hz.size)))
    assert np.argmax(audio[20:250]) + 20 == pytest.approx(88.5, abs=1)


# Sessions


def test_everything_follows_from_the_seed(tmp_path: Path, brief_network: SyntheticNetwork) -> None:
    for fault in (None, *Fault):
        session = session_with(brief_network, fault)
        again = SyntheticNetwork(seed=5, num_receivers=3, duration_s=0.2)
        first = brief_network.write(session, tmp_path / "first")
        second = again.write(session_with(again, fault), tmp_path / "second")
        files = sorted(path.name for path in first.iterdir())
        assert len(files) == 4
        assert files == sorted(path.name for path in second.iterdir())
        for name in files:
            assert (first / name).read_bytes() == (second / name).read_bytes()


def test_sessions_receivers_and_seeds_give_different_recordings(brief_network: SyntheticNetwork) -> None:
    networks = (brief_network, SyntheticNetwork(seed=6, num_receivers=3, duration_s=0.2))
    contents = {
        samples.tobytes()
        for network in networks
        for session in network.sessions(8)
        for _, samples in network.recordings(session)
    }
    assert len(contents) == 2 * 8 * 3


def test_a_recording_is_what_received_gives_for_the_sessions_seed(brief_network: SyntheticNetwork) -> None:
    session = brief_network.sessions(4)[2]
    for receiver, samples in brief_network.recordings(session):
        alone = received(session.transmitter, receiver, seed=session.seed, duration_s=0.2)
        np.testing.assert_array_equal(samples, alone)


def test_forty_sessions_have_two_broken_and_one_partial() -> None:
    sessions = SyntheticNetwork(seed=1).sessions(40)
    names = tuple(receiver.name for receiver in RECEIVERS[:7])
    faults = {session.index: (session.fault, session.broken_receivers) for session in sessions if session.fault}
    assert faults == {
        10: (Fault.TRUNCATED, names),
        20: (Fault.ONE_TRUNCATED, (names[20 % 7],)),
        30: (Fault.MISSING, names),
    }
    assert all(session.broken_receivers == () for session in sessions if session.fault is None)


@settings(deadline=None)
@given(st.integers(0, 200))
def test_faults_scale_with_the_number_of_sessions(count: int) -> None:
    faults = Counter(session.fault for session in SyntheticNetwork(seed=1).sessions(count))
    least = 0 if count < 3 else max(1, count // 40)
    assert all(least <= faults[fault] <= -(-count // 40) for fault in Fault)
    assert (faults.keys() == {None}) == (0 < count < 3)


def test_a_longer_list_begins_with_the_same_sessions() -> None:
    network = SyntheticNetwork(seed=1)
    assert network.sessions(90)[:40] == network.sessions(40)


def test_sessions_are_a_quarter_of_an_hour_apart_and_the_fortieth_starts_at_noon() -> None:
    starts = [session.session_start for session in SyntheticNetwork().sessions(40)]
    assert starts[-1] == datetime(2025, 6, 1, 12, tzinfo=UTC)
    assert {later - earlier for earlier, later in itertools.pairwise(starts)} == {timedelta(minutes=15)}
    moved = SyntheticNetwork(first_start=datetime(2026, 1, 1, tzinfo=UTC)).sessions(2)
    assert moved[1].session_start == datetime(2026, 1, 1, 0, 15, tzinfo=UTC)


def test_sessions_names_are_unique_and_every_transmitter_gets_its_turn() -> None:
    sessions = SyntheticNetwork().sessions(40)
    assert len({session.name for session in sessions}) == 40
    assert {session.transmitter for session in sessions} == set(TRANSMITTERS)


def test_a_network_has_up_to_nineteen_receivers_each_with_a_name_of_its_own() -> None:
    network = SyntheticNetwork(num_receivers=19)
    assert len({receiver.name for receiver in network.receivers}) == 19
    assert network.receivers[:7] == SyntheticNetwork().receivers
    assert [receiver.name for receiver in SyntheticNetwork().receivers] == [
        "Giaveno",
        "Montanaro",
        "Torino",
        "Coazze",
        "Passo dei Giovi",
        "Genova",
        "Milano-Baggio",
    ]
    for session in network.sessions(len(TRANSMITTERS)):
        assert len(network.truth(session)) == 19


# Files


def stations(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / "stations.json").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def test_stations_json_says_what_the_session_is(tmp_path: Path, brief_network: SyntheticNetwork) -> None:
    session = brief_network.sessions(2)[1]
    folder = brief_network.write(session, tmp_path)
    assert folder == tmp_path / "synthetic-0001-monte-beigua"
    document = stations(folder)
    assert document.keys() == {
        "description",
        "source",
        "center_frequency_hz",
        "sample_rate_hz",
        "session_start",
        "known_source",
        "receivers",
    }
    assert document["center_frequency_hz"] == 144_462_500
    assert document["sample_rate_hz"] == 200_000
    assert datetime.fromisoformat(document["session_start"]) == session.session_start
    assert document["known_source"] == {
        "name": "Monte Beigua",
        "frequency_hz": 144_462_500,
        "latitude": 44.4334,
        "longitude": 8.5654,
        "power_dbm": 10.0,
        "source_type": "beacon",
    }
    assert document["receivers"][0] == {
        "name": "Giaveno",
        "file": "giaveno.npy",
        "latitude": 45.042,
        "longitude": 7.353,
        "altitude_asl": 506,
    }
    named = [entry["file"] for entry in document["receivers"]]
    assert sorted([*named, "stations.json"]) == sorted(path.name for path in folder.iterdir())


def test_files_hold_the_recordings_as_complex64(tmp_path: Path) -> None:
    network = SyntheticNetwork(seed=4)
    session = network.sessions(1)[0]
    folder = network.write(session, tmp_path)
    for entry, (_, samples) in zip(stations(folder)["receivers"], network.recordings(session), strict=True):
        loaded = np.load(folder / entry["file"], allow_pickle=False)
        assert loaded.dtype == np.complex64
        assert loaded.shape == (200_000,)
        np.testing.assert_array_equal(loaded, samples)


@pytest.mark.parametrize("fault", [None, *Fault])
def test_files_are_cut_where_the_fault_says_so(
    tmp_path: Path, brief_network: SyntheticNetwork, fault: Fault | None
) -> None:
    session = session_with(brief_network, fault)
    folder = brief_network.write(session, tmp_path)
    whole = 128 + 40_000 * 8  # header and samples
    cut = 0
    for receiver, entry in zip(brief_network.receivers, stations(folder)["receivers"], strict=True):
        path = folder / entry["file"]
        if path.stat().st_size == whole:
            assert np.load(path, allow_pickle=False).shape == (40_000,)
            continue
        cut += 1
        assert path.stat().st_size == whole // 2
        assert receiver.name in session.broken_receivers
        with pytest.raises(ValueError, match=r"Failed to read|cannot reshape"):
            np.load(path, allow_pickle=False)
    assert cut == {None: 0, Fault.TRUNCATED: 3, Fault.MISSING: 0, Fault.ONE_TRUNCATED: 1}[fault]


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_receivers": 1}, r"num_receivers=1 is not allowed: from 2 to 19"),
        ({"num_receivers": 20}, r"num_receivers=20 is not allowed: from 2 to 19"),
        ({"seed": -1}, r"seed=-1 is not allowed: 0 or more"),
        ({"duration_s": 0.0}, r"duration_s=0\.0 is not allowed: from 0\.1 to 60 seconds"),
        ({"duration_s": math.nan}, r"duration_s=nan is not allowed"),
        ({"sample_rate_hz": 8_000.0}, r"sample_rate_hz=8000\.0 is not allowed: from 48 kHz"),
        ({"first_start": datetime(2025, 6, 1)}, r"first_start=2025-06-01T00:00:00 is not allowed"),  # noqa: DTZ001  # the fault
    ],
)
def test_a_bad_argument_is_echoed_with_what_is_allowed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        SyntheticNetwork(**arguments)


@pytest.mark.parametrize("count", [-1, 100_001])
def test_a_bad_number_of_sessions_is_echoed(count: int) -> None:
    with pytest.raises(SettingError, match=rf"count={count} is not allowed: from 0 to 100000 sessions"):
        SyntheticNetwork().sessions(count)


def test_a_receiver_beyond_the_guard_time_is_refused() -> None:
    sydney = replace(RECEIVERS[0], name="Sydney", latitude=-33.87, longitude=151.21)
    with pytest.raises(SettingError, match=r"distance_m=\d+ from Monte Beigua to Sydney is not allowed"):
        received(transmitter("cw"), sydney, seed=1)


def test_a_receiver_at_the_foot_of_the_mast_is_refused() -> None:
    source = transmitter("cw")
    near = replace(RECEIVERS[0], latitude=source.latitude, longitude=source.longitude, altitude_m=source.altitude_m)
    with pytest.raises(SettingError, match=r"distance_m=0 from Monte Beigua to Giaveno is not allowed"):
        reception(source, near, seed=1)
