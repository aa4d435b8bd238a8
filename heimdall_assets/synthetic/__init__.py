"""A seeded network of receivers and transmitters whose recordings, and the truth about them, are known exactly.

>>> from pathlib import Path
>>> from heimdall_assets.synthetic import SyntheticNetwork
>>> network = SyntheticNetwork(seed=1)
>>> session = network.sessions(40)[0]
>>> session.transmitter.name
'Superga'
>>> len(network.truth(session))
7
>>> folder = network.write(session, Path("recordings"))  # doctest: +SKIP
"""

from heimdall_assets.synthetic.network import Fault, SyntheticNetwork, SyntheticSession
from heimdall_assets.synthetic.places import RECEIVERS, TRANSMITTERS, Receiver, Transmitter
from heimdall_assets.synthetic.propagation import Reception, free_space_loss_db, received, reception, slant_range_m
from heimdall_assets.synthetic.waveforms import MODULATIONS, Modulation

__all__ = [
    "MODULATIONS",
    "RECEIVERS",
    "TRANSMITTERS",
    "Fault",
    "Modulation",
    "Receiver",
    "Reception",
    "SyntheticNetwork",
    "SyntheticSession",
    "Transmitter",
    "free_space_loss_db",
    "received",
    "reception",
    "slant_range_m",
]
