"""Where the synthetic network's receivers and transmitters stand: real places in north-western Italy.

The first seven receivers and the transmitters stand where encyclopaedias put the town or the summit, right within
a few hundred metres; the further receivers within a kilometre or so of the middle of their towns. Powers and
frequencies are invented: no station of this network exists.
"""

from __future__ import annotations

from dataclasses import dataclass

from heimdall_assets.records import KnownSource, Station


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiving station and its imperfections.

    Attributes
    ----------
    name : str
        The station's identity.
    latitude, longitude, altitude_m : float
        Degrees north and east, metres above sea level.
    noise_figure_db : float
        Receiver noise and external noise together, above k T0 B; higher in cities (ITU-R P.372).
    clock_ppm : float
        Mean error of the reference oscillator in parts per million; positive runs fast.
    """

    name: str
    latitude: float
    longitude: float
    altitude_m: float
    noise_figure_db: float
    clock_ppm: float

    @property
    def station(self) -> Station:
        """The station as the rest of the project knows it."""
        return Station(self.name, self.latitude, self.longitude, self.altitude_m)


@dataclass(frozen=True, slots=True)
class Transmitter:
    """A transmitter whose place, power and waveform are known.

    Attributes
    ----------
    name : str
        Of the hill that it stands on.
    latitude, longitude, altitude_m : float
        Degrees north and east, metres above sea level.
    frequency_hz : int
        Of the carrier.
    power_dbm : float
        Equivalent isotropically radiated power while it is keyed.
    source_type : str
        What people would call it.
    modulation : str
        A key of ``MODULATIONS``.
    """

    name: str
    latitude: float
    longitude: float
    altitude_m: float
    frequency_hz: int
    power_dbm: float
    source_type: str
    modulation: str

    @property
    def source(self) -> KnownSource:
        """The transmitter as the rest of the project knows it."""
        return KnownSource(
            self.name, self.latitude, self.longitude, self.frequency_hz, self.power_dbm, self.source_type
        )


RECEIVERS: tuple[Receiver, ...] = (
    Receiver("Giaveno", 45.0420, 7.3530, 506, noise_figure_db=5.0, clock_ppm=0.42),
    Receiver("Montanaro", 45.2336, 7.8533, 209, noise_figure_db=6.0, clock_ppm=-0.87),
    Receiver("Torino", 45.0703, 7.6869, 239, noise_figure_db=11.0, clock_ppm=1.35),
    Receiver("Coazze", 45.0518, 7.3006, 750, noise_figure_db=4.0, clock_ppm=-0.28),
    Receiver("Passo dei Giovi", 44.5525, 8.9371, 472, noise_figure_db=5.0, clock_ppm=0.11),
    Receiver("Genova", 44.4072, 8.9340, 19, noise_figure_db=10.0, clock_ppm=-1.64),
    Receiver("Milano-Baggio", 45.4617, 9.0898, 127, noise_figure_db=12.0, clock_ppm=0.73),
    # A network has the first seven unless it is asked to have more.
    Receiver("Ivrea", 45.4667, 7.8833, 253, noise_figure_db=6.0, clock_ppm=0.95),
    Receiver("Biella", 45.5664, 8.0544, 420, noise_figure_db=6.5, clock_ppm=-0.51),
    Receiver("Novara", 45.4469, 8.6222, 162, noise_figure_db=8.0, clock_ppm=1.10),
    Receiver("Vercelli", 45.3256, 8.4232, 130, noise_figure_db=7.0, clock_ppm=-1.22),
    Receiver("Alessandria", 44.9133, 8.6200, 95, noise_figure_db=8.0, clock_ppm=0.34),
    Receiver("Asti", 44.9000, 8.2064, 123, noise_figure_db=7.5, clock_ppm=-0.69),
    Receiver("Cuneo", 44.3896, 7.5479, 534, noise_figure_db=6.5, clock_ppm=0.58),
    Receiver("Savona", 44.3080, 8.4810, 4, noise_figure_db=8.5, clock_ppm=-0.16),
    Receiver("Pavia", 45.1852, 9.1552, 77, noise_figure_db=8.0, clock_ppm=1.48),
    Receiver("Alba", 44.7000, 8.0333, 172, noise_figure_db=7.0, clock_ppm=-1.05),
    Receiver("Pinerolo", 44.8850, 7.3310, 376, noise_figure_db=6.0, clock_ppm=0.22),
    Receiver("Tortona", 44.8942, 8.8656, 122, noise_figure_db=7.0, clock_ppm=-0.37),
)
"""Every receiver that a network can have; a network of n has the first n."""

TRANSMITTERS: tuple[Transmitter, ...] = (
    Transmitter(
        "Superga",
        45.0806,
        7.7675,
        672,
        frequency_hz=145_662_500,
        power_dbm=40.0,
        source_type="repeater",
        modulation="fm_repeater",
    ),
    Transmitter(
        "Monte Beigua",
        44.4334,
        8.5654,
        1287,
        frequency_hz=144_462_500,
        power_dbm=10.0,
        source_type="beacon",
        modulation="cw",
    ),
    Transmitter(
        "Monte Giarolo",
        44.7258,
        9.1317,
        1473,
        frequency_hz=431_612_500,
        power_dbm=27.0,
        source_type="digital repeater",
        modulation="4fsk",
    ),
    Transmitter(
        "Monte Penice",
        44.7845,
        9.3170,
        1460,
        frequency_hz=144_837_500,
        power_dbm=33.0,
        source_type="packet",
        modulation="packet",
    ),
    Transmitter(
        "Mottarone",
        45.8803,
        8.4511,
        1492,
        frequency_hz=437_137_500,
        power_dbm=20.0,
        source_type="digital",
        modulation="qpsk",
    ),
    Transmitter(
        "Mombarone",
        45.5861,
        7.8933,
        2371,
        frequency_hz=433_537_500,
        power_dbm=14.0,
        source_type="portable",
        modulation="nbfm",
    ),
)
"""The transmitters that take turns: the session of index i hears the one of index i modulo their number."""
