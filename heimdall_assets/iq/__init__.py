"""IQ recordings: bytes of any served format and place in, complex samples out."""

from heimdall_assets.iq.formats import FORMATS
from heimdall_assets.iq.header import Hints
from heimdall_assets.iq.locations import resolve_location
from heimdall_assets.iq.opening import IQFile, identify, is_in_store, load_iq, open_iq, open_location, open_source

__all__ = [
    "FORMATS",
    "Hints",
    "IQFile",
    "identify",
    "is_in_store",
    "load_iq",
    "open_iq",
    "open_location",
    "open_source",
    "resolve_location",
]
