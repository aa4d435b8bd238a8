"""IQ recordings: bytes of any served format and place in, complex samples out."""

from heimdall_assets.iq.formats import FORMAT_NAMES, FORMATS
from heimdall_assets.iq.header import Hints
from heimdall_assets.iq.locations import resolve_location
from heimdall_assets.iq.opening import IQFile, identify, is_in_store, load_iq, open_iq, open_location, open_source
from heimdall_assets.iq.stretch import Stretch, assumed_rate, sentence, stretch_of

__all__ = [
    "FORMATS",
    "FORMAT_NAMES",
    "Hints",
    "IQFile",
    "Stretch",
    "assumed_rate",
    "identify",
    "is_in_store",
    "load_iq",
    "open_iq",
    "open_location",
    "open_source",
    "resolve_location",
    "sentence",
    "stretch_of",
]
