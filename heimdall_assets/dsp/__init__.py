"""Arrays in, numbers out: the features of IQ recordings.

>>> from heimdall_assets.dsp import FEATURES, analyze, extract_features
>>> len(FEATURES)
18
"""

from heimdall_assets.dsp.analysis import Figures, analyze, extract_features
from heimdall_assets.dsp.features import FEATURES, Feature
from heimdall_assets.dsp.geometry import gdop
from heimdall_assets.dsp.memory import keep_freed_memory
from heimdall_assets.dsp.passes import load_kernels
from heimdall_assets.dsp.references import REFERENCES
from heimdall_assets.dsp.session import summarize
from heimdall_assets.dsp.view import SpectrumView, spectrum_view

__all__ = [
    "FEATURES",
    "REFERENCES",
    "Feature",
    "Figures",
    "SpectrumView",
    "analyze",
    "extract_features",
    "gdop",
    "keep_freed_memory",
    "load_kernels",
    "spectrum_view",
    "summarize",
]
