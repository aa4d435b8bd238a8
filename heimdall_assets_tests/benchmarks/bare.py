"""The bound: processes that read, compute and insert, a session after the other, with no orchestrator and no ledger."""

from __future__ import annotations

import os
import time
from functools import cache
from multiprocessing import get_context
from typing import TYPE_CHECKING
from uuid import UUID

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.features import replace_features
from heimdall_assets.db.sessions import load_session
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.dsp import keep_freed_memory
from heimdall_assets.extraction import compute_session
from heimdall_assets.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine


def measure_and_insert(session_id: str) -> float:
    """Load a session, compute its features, and insert its row: the whole work and nothing besides.

    Returns
    -------
    float
        Seconds of processor time that this process took for it.
    """
    started = time.process_time()
    settings = current_settings()
    with transaction(_engine()) as connection:
        session = load_session(connection, UUID(session_id), source_tolerance_hz=settings.source_tolerance_hz)
    result = compute_session(session, settings)
    with transaction(_engine()) as connection:
        replace_features(connection, result, attempt=1, only_failed=True)
    return time.process_time() - started


@cache
def _engine() -> Engine:
    """One connection a process."""
    return open_engine(heimdall_url(current_settings()), pool_size=1)


def pool_seconds(session_ids: Sequence[UUID]) -> tuple[float, float]:
    """Work on sessions with a process a core, after one each for warming up.

    The environment says where the database and the recordings are.

    Returns
    -------
    tuple of float
        Seconds for the rest, and seconds of processor time of the processes.
    """
    workers = os.cpu_count() or 1
    keys = [str(key) for key in session_ids]
    with get_context("spawn").Pool(workers, keep_freed_memory) as pool:
        pool.map(measure_and_insert, keys[:workers], chunksize=1)
        started = time.perf_counter()
        processor_s = sum(pool.imap_unordered(measure_and_insert, keys[workers:], chunksize=1))
        return time.perf_counter() - started, processor_s
