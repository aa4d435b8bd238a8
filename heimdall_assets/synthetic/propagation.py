"""From a transmitter to a receiver: free space, the receiver's clock and its noise.

Nothing stands in the way: no terrain, no horizon, no multipath. Samples are scaled so that |x|^2 is in watts:
10 log10(mean |x|^2) + 30 is the power in dBm.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heimdall_assets.errors import SettingError
from heimdall_assets.synthetic.waveforms import MODULATIONS, phasor

if TYPE_CHECKING:
    from heimdall_assets.synthetic.places import Receiver, Transmitter
    from heimdall_assets.synthetic.waveforms import ComplexSamples

SPEED_OF_LIGHT_M_S = 299_792_458.0
BOLTZMANN_J_K = 1.380649e-23
REFERENCE_TEMPERATURE_K = 290.0
WGS84_SEMI_MAJOR_AXIS_M = 6_378_137.0
WGS84_FLATTENING = 1 / 298.257223563

DURATION_S = 1.0
SAMPLE_RATE_HZ = 200_000.0
RANGE_M = (100.0, 1_000_000.0)
GUARD_S = 0.004
"""The transmission starts this much before the recording and lasts as much longer; more than the longest delay."""
CLOCK_WANDER_PPM = 0.05
CLOCK_DRIFT_PPM_S = 0.0005
"""Standard deviations over sessions: of a clock's error about its mean, and of its change within a session."""


@dataclass(frozen=True, slots=True)
class Reception:
    """The truth about one receiver's recording of a transmission.

    Attributes
    ----------
    distance_m, delay_s : float
        Straight line from antenna to antenna, and the time that light takes for it.
    path_loss_db : float
        Free-space loss between isotropic antennas.
    signal_dbm : float
        Mean power of the signal over the recording: EIRP - loss + 10 log10(duty).
    noise_floor_dbm : float
        Power of the white noise in the sampled band: k T0 fs and the noise figure.
    frequency_offset_hz : float
        Of the carrier from the centre frequency, in the middle of the recording: -ppm 1e-6 f.
    drift_hz_per_s : float
        Its rate of change.
    phase_rad : float
        Of the carrier in the middle of the recording, in [0, 2 pi).
    """

    distance_m: float
    delay_s: float
    path_loss_db: float
    signal_dbm: float
    noise_floor_dbm: float
    frequency_offset_hz: float
    drift_hz_per_s: float
    phase_rad: float

    @property
    def snr_db(self) -> float:
        """Signal power over noise power in the sampled band."""
        return self.signal_dbm - self.noise_floor_dbm

    @property
    def rssi_dbm(self) -> float:
        """Power of signal and noise together."""
        return 10 * math.log10(10 ** (self.signal_dbm / 10) + 10 ** (self.noise_floor_dbm / 10))


@dataclass(frozen=True, slots=True)
class Transmission:
    """A transmission ready for every receiver: the spectrum of the waveform with a guard at both ends."""

    transmitter: Transmitter
    seed: int
    num_samples: int
    sample_rate_hz: float
    num_guard: int
    spectrum: ComplexSamples


def slant_range_m(
    first: tuple[float, float, float],
    second: tuple[float, float, float],
) -> float:
    """Straight-line distance in m of two points, each (degrees north, degrees east, metres), on WGS 84.

    Altitudes are taken as heights above the ellipsoid; what both have in common cancels.

    References
    ----------
    National Geospatial-Intelligence Agency, NGA.STND.0036, World Geodetic System 1984 (geodetic to Cartesian).
    """
    return math.dist(_cartesian_m(*first), _cartesian_m(*second))


def _cartesian_m(latitude: float, longitude: float, altitude_m: float) -> tuple[float, float, float]:
    phi, lam = math.radians(latitude), math.radians(longitude)
    squared_eccentricity = WGS84_FLATTENING * (2 - WGS84_FLATTENING)
    normal_m = WGS84_SEMI_MAJOR_AXIS_M / math.sqrt(1 - squared_eccentricity * math.sin(phi) ** 2)
    horizontal_m = (normal_m + altitude_m) * math.cos(phi)
    z_m = (normal_m * (1 - squared_eccentricity) + altitude_m) * math.sin(phi)
    return horizontal_m * math.cos(lam), horizontal_m * math.sin(lam), z_m


def free_space_loss_db(distance_m: float, frequency_hz: float) -> float:
    """Free-space basic transmission loss 20 log10(4 pi d f / c) = 20 log10(d) + 20 log10(f) - 147.55 dB.

    References
    ----------
    Recommendation ITU-R P.525, Calculation of free-space attenuation.
    """
    return 20 * math.log10(4 * math.pi * distance_m * frequency_hz / SPEED_OF_LIGHT_M_S)


def check_sampling(duration_s: float, sample_rate_hz: float) -> int:
    """Return the number of samples, or raise a SettingError that echoes the value and says what is allowed."""
    if not 0.1 <= duration_s <= 60:
        raise SettingError(f"{duration_s=} is not allowed: from 0.1 to 60 seconds")
    if not 48_000 <= sample_rate_hz <= 10_000_000:
        raise SettingError(f"{sample_rate_hz=} is not allowed: from 48 kHz, for the widest signal, to 10 MHz")
    return round(duration_s * sample_rate_hz)


def reception(
    transmitter: Transmitter,
    receiver: Receiver,
    *,
    seed: int,
    sample_rate_hz: float = SAMPLE_RATE_HZ,
) -> Reception:
    """Return the truth about what :func:`received` gives for the same arguments.

    Parameters
    ----------
    transmitter, receiver : Transmitter, Receiver
        Between 100 m and 1000 km apart.
    seed : int
        Of the session, not negative; the state of the receiver's clock follows from it and the receiver's name.
    sample_rate_hz : float
        Complex samples a second, which is the noise bandwidth.

    Returns
    -------
    Reception
        Distance, powers and carrier offset.

    Raises
    ------
    SettingError
        The two are too near to each other or too far apart.
    """
    distance_m = slant_range_m(
        (receiver.latitude, receiver.longitude, receiver.altitude_m),
        (transmitter.latitude, transmitter.longitude, transmitter.altitude_m),
    )
    if not RANGE_M[0] <= distance_m <= RANGE_M[1]:
        raise SettingError(
            f"{distance_m=:.0f} from {transmitter.name} to {receiver.name} is not allowed: from 100 m to 1000 km"
        )
    rng = _stream(seed, f"clock of {receiver.name}")
    clock_ppm = receiver.clock_ppm + CLOCK_WANDER_PPM * rng.standard_normal()
    drift_ppm_s = CLOCK_DRIFT_PPM_S * rng.standard_normal()
    path_loss_db = free_space_loss_db(distance_m, transmitter.frequency_hz)
    noise_w = BOLTZMANN_J_K * REFERENCE_TEMPERATURE_K * sample_rate_hz
    return Reception(
        distance_m=distance_m,
        delay_s=distance_m / SPEED_OF_LIGHT_M_S,
        path_loss_db=path_loss_db,
        signal_dbm=transmitter.power_dbm - path_loss_db + 10 * math.log10(MODULATIONS[transmitter.modulation].duty),
        noise_floor_dbm=10 * math.log10(noise_w) + 30 + receiver.noise_figure_db,
        frequency_offset_hz=-clock_ppm * 1e-6 * transmitter.frequency_hz,
        drift_hz_per_s=-drift_ppm_s * 1e-6 * transmitter.frequency_hz,
        phase_rad=rng.uniform(0, 2 * math.pi),
    )


def received(
    transmitter: Transmitter,
    receiver: Receiver,
    *,
    seed: int,
    duration_s: float = DURATION_S,
    sample_rate_hz: float = SAMPLE_RATE_HZ,
) -> ComplexSamples:
    """Return what a receiver records of a transmission, tuned to the transmitter's nominal frequency.

    The same seed gives every receiver the same transmission, each with its own delay, clock and noise; carriers
    have random phases, since the receivers' oscillators are not coherent. The sampling clock has no error.

    Parameters
    ----------
    transmitter, receiver : Transmitter, Receiver
        Between 100 m and 1000 km apart.
    seed : int
        Of the session, not negative.
    duration_s : float
        In [0.1, 60]. The duty of bursts is exact for whole multiples of 200 ms.
    sample_rate_hz : float
        In [48e3, 10e6].

    Returns
    -------
    ndarray of complex64, shape (n,)
        n = round(duration_s x sample_rate_hz); |x|^2 in watts.

    Raises
    ------
    SettingError
        An argument is outside its range.
    """
    transmission = transmit(transmitter, seed=seed, duration_s=duration_s, sample_rate_hz=sample_rate_hz)
    return receive(transmission, receiver)


def transmit(transmitter: Transmitter, *, seed: int, duration_s: float, sample_rate_hz: float) -> Transmission:
    """Make the waveform once for all receivers; the arguments are those of :func:`received`."""
    num_samples = check_sampling(duration_s, sample_rate_hz)
    num_guard = math.ceil(GUARD_S * sample_rate_hz)
    waveform = MODULATIONS[transmitter.modulation].waveform(
        _stream(seed, "waveform"), num_samples + 2 * num_guard, sample_rate_hz
    )
    return Transmission(
        transmitter, seed, num_samples, sample_rate_hz, num_guard, np.fft.fft(waveform).astype(np.complex64)
    )


def receive(transmission: Transmission, receiver: Receiver) -> ComplexSamples:
    """Delay, attenuate, mix and add noise: :func:`received` of a transmission that is made already."""
    truth = reception(
        transmission.transmitter,
        receiver,
        seed=transmission.seed,
        sample_rate_hz=transmission.sample_rate_hz,
    )
    samples = _delayed(transmission, truth.delay_s)
    time_s = (np.arange(samples.size) - samples.size / 2) / transmission.sample_rate_hz
    cycles = truth.phase_rad / (2 * np.pi) + (truth.frequency_offset_hz + truth.drift_hz_per_s / 2 * time_s) * time_s
    keyed_dbm = transmission.transmitter.power_dbm - truth.path_loss_db
    samples *= phasor(cycles)
    samples *= np.float32(_amplitude(keyed_dbm))
    rng = _stream(transmission.seed, f"noise of {receiver.name}")
    noise = rng.standard_normal(2 * samples.size, dtype=np.float32).view(np.complex64)
    noise *= np.float32(_amplitude(truth.noise_floor_dbm) / math.sqrt(2))
    samples += noise
    return samples


def _delayed(transmission: Transmission, delay_s: float) -> ComplexSamples:
    frequency_hz = np.fft.fftfreq(transmission.spectrum.size, 1 / transmission.sample_rate_hz).astype(np.float64)
    delayed = np.fft.ifft(transmission.spectrum * phasor(-delay_s * frequency_hz)).astype(np.complex64)
    return delayed[transmission.num_guard : transmission.num_guard + transmission.num_samples]


def _amplitude(power_dbm: float) -> float:
    return math.sqrt(10 ** ((power_dbm - 30) / 10))


def _stream(seed: int, purpose: str) -> np.random.Generator:
    """Return an independent random stream for every purpose of a session."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])
