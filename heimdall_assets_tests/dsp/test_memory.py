"""Memory of arrays that were freed is used again instead of being asked of the kernel anew."""

from __future__ import annotations

import subprocess
import sys

import pytest

PAGE_FAULTS = """
import resource
import numpy as np
from heimdall_assets.dsp import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        first = np.ones(500_000, dtype=np.complex64)  # 4 MB, as a chunk's spectra take
        second = np.ones(500_000, dtype=np.complex64)
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_arrays_find_the_pages_of_those_before_them() -> None:
    done = subprocess.run([sys.executable, "-c", PAGE_FAULTS], capture_output=True, text=True, check=True)
    # 80 arrays of 1,000 pages each; without it, glibc asks for nearly all of them
    assert int(done.stdout) < 1_000
