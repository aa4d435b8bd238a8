"""How many sessions are computed at a time, where some of those that are under way wait for a store."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Semaphore
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Places:
    """Places at the processors, one for each session that computes. A context manager: in it, a place is taken.

    No lock is waited for with a place: the locks of sessions that left theirs may be what others wait for, and two runs
    would block each other. So a session takes its lock first.

    Parameters
    ----------
    count : int
        Sessions that compute at a time.
    """

    def __init__(self, count: int) -> None:
        self._free = Semaphore(count)

    def __enter__(self) -> None:
        self._free.acquire()

    def __exit__(self, *_: object) -> None:
        self._free.release()

    @contextmanager
    def left(self) -> Iterator[None]:
        """Leave the place that is taken to others for the block, and wait for one at its end."""
        self._free.release()
        try:
            yield
        finally:
            self._free.acquire()
