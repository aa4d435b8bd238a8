"""How many sessions are computed at a time, where some of those that are under way wait for a store."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from threading import Semaphore
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Places:
    """Places at the processors, one for each session that computes. A context manager: in it, a place is taken.

    No lock is waited for with a place: the locks of sessions that left theirs may be what others wait for, and two runs
    would block each other.

    Parameters
    ----------
    count : int
        Sessions that compute at a time.

    Attributes
    ----------
    were_left : Future
        Done as soon as a place was left for the first time: from then on it is worth to work on more sessions than
        there are places.
    """

    def __init__(self, count: int) -> None:
        self._free = Semaphore(count)
        self.were_left: Future[Any] = Future()

    def __enter__(self) -> None:
        self._free.acquire()

    def __exit__(self, *_: object) -> None:
        self._free.release()

    @contextmanager
    def left(self) -> Iterator[None]:
        """Leave the place that is taken to others for the block, and wait for one at its end."""
        self._free.release()
        with suppress(InvalidStateError):  # another one was the first
            self.were_left.set_result(None)
        try:
            yield
        finally:
            self._free.acquire()
