"""Both implementations of the heavy work."""

from __future__ import annotations

import pytest

from heimdall_assets.dsp.passes import PLAIN, Passes, compiled


@pytest.fixture(scope="session")
def numba_passes() -> Passes:
    """The compiled implementation; the tests' own requirements hold numba."""
    implementation = compiled()
    assert implementation is not None
    return implementation


@pytest.fixture(params=["numpy", "numba"])
def passes(request: pytest.FixtureRequest, numba_passes: Passes) -> Passes:
    """Either implementation in turn."""
    return PLAIN if request.param == PLAIN.name else numba_passes
