"""What lies at the measurements' locations, in words that can be compared; see :mod:`heimdall_assets.db.inputs`."""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from heimdall_assets.db import inputs, work
from heimdall_assets.db.engine import transaction
from heimdall_assets.errors import StoreUnavailable
from heimdall_assets.iq import identify

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets.extraction.recordings import Noted
    from heimdall_assets.records import Session
    from heimdall_assets.settings import Settings

logger = logging.getLogger(__name__)

THREADS = 8
"""A store that answers slowly is asked about several sessions at a time."""
WORD_LENGTH = 12
"""Hexadecimal digits of an object's word: two objects of one session never share one."""


def words_of(locations: Iterable[tuple[UUID, str]], settings: Settings, noted: Noted | None = None) -> tuple[str, bool]:
    """A word for every object that is there, in order, and whether all could be looked for.

    An object that is missing has none; nor has one whose store does not answer, of which nothing can be told. Those
    that are noted are not asked for again.
    """
    words = []
    is_complete = True
    for measurement_id, location in locations:
        try:
            identity = (noted or {}).get(location) or identify(location, settings)
        except StoreUnavailable:
            is_complete = False
            continue
        if identity is not None:
            text = "\n".join(map(str, (measurement_id, location, *identity)))
            words.append(hashlib.sha256(text.encode()).hexdigest()[:WORD_LENGTH])
    return " ".join(sorted(words)), is_complete


def inputs_of(session: Session, settings: Settings, noted: Noted, usable: Collection[str]) -> str:
    """The words of a session's inputs as they were when they were opened: what is replaced after that is new.

    Of receivers that are usable, only what was opened counts: their other measurements were not needed. Nor are those
    of receivers that are not known.
    """
    tried = (
        (m.id, m.iq_data_location or "")
        for m in session.measurements
        if m.iq_data_location in noted or (m.station.is_known and m.station.name not in usable)
    )
    words, _ = words_of(tried, settings, noted)
    return words


def all_words(before: str | None, now: str) -> str:
    """The words of what was tried before and of what was tried now."""
    return " ".join(sorted({*(before or "").split(), *now.split()}))


def check_inputs(engine: Engine, settings: Settings) -> list[UUID]:
    """Look at the recordings of the next sessions on the round, and let those wait again that have other ones.

    No transaction is open while the store is asked.

    Returns
    -------
    list of UUID
        The sessions that wait again.
    """
    if not settings.input_checks_per_tick:
        return []
    with transaction(engine) as connection:
        tried = inputs.next_to_check(connection, settings.input_checks_per_tick)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="inputs") as pool:
        found = list(pool.map(lambda item: words_of(item.locations, settings), tried))
    unknown: dict[UUID, str] = {}
    renewed: dict[UUID, str] = {}
    for item, (words, is_complete) in zip(tried, found, strict=True):
        if item.inputs_tried is None:
            if is_complete:
                unknown[item.session_id] = words
        elif set(words.split()) - set(item.inputs_tried.split()):
            renewed[item.session_id] = item.why
    with transaction(engine) as connection:
        inputs.note(connection, unknown)
        again = inputs.renew(connection, renewed)
    with transaction(engine) as connection:  # their numbers of measurements, and those that had none at all
        work.refresh(connection, [item.session_id for item in tried])
    if again:
        logger.info("%d sessions have other recordings than those that were tried: they wait again", len(again))
    return again
