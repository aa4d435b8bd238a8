"""Places to compute: as many as there are, left for a while, and waited for again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from heimdall_assets.extraction import Places


@pytest.mark.parametrize("count", [1, 3])
def test_no_more_hold_a_place_than_there_are(count: int) -> None:
    places, lock, inside, most = Places(count), threading.Lock(), 0, 0
    full = threading.Barrier(count)

    def change(by: int) -> None:
        nonlocal inside, most
        with lock:
            inside += by
            most = max(most, inside)

    def compute(_: int) -> None:
        with places:
            change(1)
            full.wait(timeout=60)  # all places are taken at the same time, or none goes on
            change(-1)
            with places.left():
                pass
            change(1)
            change(-1)

    with ThreadPoolExecutor(4 * count) as pool:
        list(pool.map(compute, range(20 * count)))
    assert (inside, most) == (0, count)


def test_who_left_a_place_waits_for_one_at_the_end_also_after_an_error() -> None:
    places, left, is_back = Places(1), threading.Event(), threading.Event()

    def leave() -> None:
        with places:
            with suppress(ZeroDivisionError), places.left():
                left.wait(timeout=60)
                raise ZeroDivisionError
            is_back.set()

    with ThreadPoolExecutor(1) as pool:
        away = pool.submit(leave)
        with places:
            left.set()
            assert not is_back.wait(0.1)
        away.result(timeout=60)
    assert is_back.is_set()
    with places:
        pass


def test_that_a_place_was_left_is_known_from_the_first_time_on() -> None:
    places = Places(2)
    with places, places:
        assert not places.were_left.done()
        for _ in range(2):
            with places.left():
                assert places.were_left.done()
    assert places.were_left.done()
