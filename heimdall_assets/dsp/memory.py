"""Has the C library keep the memory of arrays that are freed, for the next ones.

A chunk's arrays take megabytes, and live for milliseconds. By default glibc gives each back to the kernel, which hands
out cleared pages for the next: more than a fifth of a session's processor time.
"""

import ctypes
import sys

MIB = 2**20
KEPT = 256 * MIB
"""The most free memory that stays at the end of an arena, in bytes; what was never used is never kept."""
OWN_MAPPING = 32 * MIB
"""Arrays from this size on go back to the kernel at once, in bytes; the largest value that glibc takes."""

# Of <malloc.h>; see mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Set it for this process and those that are forked from it; False where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, OWN_MAPPING) and mallopt(_M_TRIM_THRESHOLD, KEPT))
