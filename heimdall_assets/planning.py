"""Which sessions run next, in what order, in which batches: pure decisions over what db/ returns.

The newest sessions go first, yet a fixed share of every tick belongs to the oldest, so that a backlog moves however
much arrives. Those that were completed just now are fresh: they get batches of their own, for which the queue keeps a
slot, so that none waits for a run full of older ones. Sessions that failed before have slots of their own and never
take one from a healthy session.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

Lane = Literal["fresh", "backlog", "retry", "request"]
"""Completed just now; not tried yet, and older; tried before; asked for."""


def priority(lane: Lane, origin: str) -> int:
    """A batch's place in Dagster's queue: the sensor's 10, what the schedule caught 0, retries and requests -10."""
    if lane not in {"fresh", "backlog"}:
        return -10
    return {"sensor": 10, "schedule": 0}.get(origin, -10)


def lane_of(batch_id: str) -> Lane:
    """The lane that a batch's name begins with."""
    return cast("Lane", batch_id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Candidate:
    """A session that waits.

    Attributes
    ----------
    session_id : UUID
        The session.
    is_registered : bool
        Dagster knows its partition key already.
    is_fresh : bool
        It was completed just now.
    """

    session_id: UUID
    is_registered: bool
    is_fresh: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Sessions for one run.

    Attributes
    ----------
    batch_id : str
        Lane and a UUID; the reservation, the run key and a tag of the run.
    session_ids : tuple of UUID
        In the order in which they run.
    is_contiguous : bool
        True: new partition keys, registered in this order, run as a range. False: scattered keys, run as a list.
    lane : {"fresh", "backlog", "retry", "request"}
        The queue keeps a slot for fresh ones.
    request_id : UUID or None
        The request that asked for them.
    stale : bool
        Features of an older version, or of other code, are to be computed again.
    """

    batch_id: str
    session_ids: tuple[UUID, ...]
    is_contiguous: bool
    lane: Lane
    request_id: UUID | None = None
    stale: bool = False


def choose(
    newest: Sequence[Candidate], oldest: Sequence[Candidate], *, slots: int, oldest_share_percent: int
) -> tuple[list[Candidate], list[Candidate]]:
    """Share a tick's slots between the newest and the oldest sessions.

    Parameters
    ----------
    newest, oldest : sequence of Candidate
        The waiting sessions from either end, each at least ``slots`` long unless there are no more.
    slots : int
        How many sessions may be planned.
    oldest_share_percent : int
        In [0, 100]: this share of the slots, rounded up, goes to the oldest.

    Returns
    -------
    tuple of list of Candidate
        (newest first, oldest first): together at most ``slots``, none twice. Where everything fits, all are in
        the first list.
    """
    if slots <= 0:
        return [], []
    if len(newest) < slots or {c.session_id for c in newest} == {c.session_id for c in oldest}:
        return list(newest[:slots]), []
    reserved = min(slots, math.ceil(slots * oldest_share_percent / 100))
    old = list(oldest[:reserved])
    taken = {c.session_id for c in old}
    fresh = [c for c in newest if c.session_id not in taken][: slots - len(old)]
    return fresh, old


def make_batches(candidates: Iterable[Candidate], *, batch_size: int, lane: Lane) -> list[Batch]:
    """Cut candidates into batches of one kind each, keeping their order.

    New keys make ranges. Keys that Dagster knows make lists: their place in Dagster's order is given, and every gap
    in a range would cost a run of its own.

    Parameters
    ----------
    candidates : iterable of Candidate
        In the order in which they should run.
    batch_size : int
        Most sessions in a batch.
    lane : {"fresh", "backlog", "retry", "request"}
        See :class:`Batch`.
    """
    ordered = list(candidates)
    new = [c.session_id for c in ordered if not c.is_registered]
    known = [c.session_id for c in ordered if c.is_registered]
    return [
        Batch(f"{lane}-{uuid.uuid4()}", tuple(keys[start : start + batch_size]), is_contiguous, lane)
        for keys, is_contiguous in ((new, True), (known, False))
        for start in range(0, len(keys), batch_size)
    ]


def plan(
    newest: Sequence[Candidate],
    oldest: Sequence[Candidate],
    retries: Sequence[Candidate],
    *,
    slots: int,
    retry_slots: int,
    batch_size: int,
    oldest_share_percent: int,
    fresh_slots: int = 0,
    queued: Collection[Lane] = (),
) -> list[Batch]:
    """All batches of a tick: fresh sessions, the others with the oldest at their end, then retries.

    Parameters
    ----------
    newest, oldest, retries : sequence of Candidate
        From ``db.work``.
    slots, retry_slots : int
        How many healthy and how many failed sessions may be planned; the one never eats into the other.
    batch_size : int
        Most sessions in a batch.
    oldest_share_percent : int
        See :func:`choose`.
    fresh_slots : int
        So many fresh sessions are planned whatever ``slots`` says.
    queued : collection of Lane
        Where the queue holds batches of these, a further one of the same lane is left out unless it is full: it would
        gain nothing and cost the start of a process, and by the next tick it may have grown. The newest wait.
    """
    chosen, old = choose(newest, oldest, slots=slots, oldest_share_percent=oldest_share_percent)
    taken = {candidate.session_id for candidate in old}  # by id: between the two queries one may cease to be fresh
    num_fresh = max(sum(candidate.is_fresh for candidate in chosen), fresh_slots)
    fresh = [candidate for candidate in newest if candidate.is_fresh and candidate.session_id not in taken][:num_fresh]
    others = [candidate for candidate in chosen if not candidate.is_fresh]
    if "fresh" in queued:
        fresh = _full_batches(fresh, batch_size)
    if "backlog" in queued and not old:
        others = _full_batches(others, batch_size)
    return [
        *make_batches(fresh, batch_size=batch_size, lane="fresh"),
        *make_batches([*others, *old], batch_size=batch_size, lane="backlog"),
        *make_batches(retries[: max(0, retry_slots)], batch_size=batch_size, lane="retry"),
    ]


def _full_batches(newest_first: list[Candidate], batch_size: int) -> list[Candidate]:
    """Leave out the newest of each kind, so many that what is left makes full batches."""
    by_kind = ([c for c in newest_first if c.is_registered is known] for known in (False, True))
    return [candidate for kind in by_kind for candidate in kind[len(kind) % batch_size :]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A session that a request waits for."""

    request_id: UUID
    session_id: UUID
    is_registered: bool
    stale: bool
    batch_size: int


def plan_requests(waiting: Sequence[Asked], *, slots: int) -> list[Batch]:
    """Batches for requests: one request after the other, each in batches of its own.

    Parameters
    ----------
    waiting : sequence of Asked
        In the order in which they should run. A session that several requests wait for is planned for the first.
    slots : int
        How many sessions may be planned.
    """
    by_request: dict[tuple[UUID, bool, int], list[Candidate]] = {}
    seen: set[UUID] = set()
    for item in waiting:
        if len(seen) >= slots or item.session_id in seen:
            continue
        seen.add(item.session_id)
        key = (item.request_id, item.stale, item.batch_size)
        by_request.setdefault(key, []).append(Candidate(item.session_id, item.is_registered))
    return [
        replace(batch, request_id=request_id, stale=stale)
        for (request_id, stale, batch_size), candidates in by_request.items()
        for batch in make_batches(candidates, batch_size=batch_size, lane="request")
    ]
