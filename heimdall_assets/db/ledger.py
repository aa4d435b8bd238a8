"""Catching up: the ledger learns what is new, gone or changed since it last looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heimdall_assets.db import discovery, heartbeats, inputs, sources, strays, totals, work
from heimdall_assets.db.suspects import is_small

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

CHANGES_PER_LOOK = 2000
"""Of other code, that one look takes from the queue: about half a second's worth."""


def catch_up(connection: Connection, *, since: datetime | None, is_full: bool) -> int:
    """Bring feature_states up to date with the tables that other code writes; for the planner, under its lock.

    Parameters
    ----------
    connection : Connection
        In the planner's transaction.
    since : datetime or None
        Look for sessions that Heimdall touched after this; None: at all of them. In a small database always at all:
        then sessions whose time stamps lie in the past need not wait for a full comparison.
    is_full : bool
        Look at all sessions that have no state, and at all states if there are more of them than sessions. What is
        found between two such looks is found by time stamps and by the queue of changes. At the first, and after the
        features were truncated, which leaves nothing in that queue, all states are compared with the features too;
        else in a large database only the daily reconciliation does that.

    Returns
    -------
    int
        Number of sessions that were new.
    """
    is_whole = is_small(connection)
    looks_at_features = is_full and (is_whole or heartbeats.last_beat(connection, heartbeats.DISCOVERY) is None)
    if is_full:
        # Before the look, not after: what is committed meanwhile is younger.
        heartbeats.beat(connection, heartbeats.DISCOVERY)
    found = discovery.discover(connection, since=None if is_full or is_whole else since)
    if is_whole or not is_full:
        discovery.forget_gone(connection, since=None if is_whole else since)
    elif discovery.has_gone(connection):
        discovery.forget_gone(connection)
    work.absorb_changes(connection, CHANGES_PER_LOOK)
    if looks_at_features:
        work.absorb(connection)
    inputs.absorb_late(connection, strays.pass_over(connection) if is_full else ())
    sources.follow(connection, is_full=is_full)
    totals.compact(connection)
    return found
