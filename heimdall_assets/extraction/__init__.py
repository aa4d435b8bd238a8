"""One session: fetch, compute, store. The only place where dsp, iq and db meet."""

from heimdall_assets.extraction.compute import compute_session
from heimdall_assets.extraction.inputs import check_inputs
from heimdall_assets.extraction.outcome import RECEIVER_FIGURES, Outcome, counted_state, summary_of
from heimdall_assets.extraction.places import Places
from heimdall_assets.extraction.session import extract_session, retry_rule

__all__ = [
    "RECEIVER_FIGURES",
    "Outcome",
    "Places",
    "check_inputs",
    "compute_session",
    "counted_state",
    "extract_session",
    "retry_rule",
    "summary_of",
]
