"""Bounds of measurements' "timestamp": which pieces of the table a statement has to look at.

measurements may be a hypertable, or a partitioned table, of hundreds of pieces. PostgreSQL leaves pieces out while it
plans a statement only where the statement compares "timestamp" with constants. Otherwise planning alone takes longer
than everything else, and every piece is locked.

So two conditions stand in every statement. One is exact: a measurement lies between the bounds of its own session,
which are its window with a margin, and its strays. The other, a :class:`Span`, is made of constants, and covers the
bounds of all sessions that the statement looks at.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from heimdall_assets.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_RANGES = 100
"""Of one span; sessions that are further apart than that share ranges."""

_EARLIEST, _LATEST = datetime(1000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""What lies beyond cannot be calculated with; a range that ends there has no end."""


def margin() -> timedelta:
    """How far outside its session's window a measurement may lie."""
    return timedelta(seconds=current_settings().measurement_margin_seconds)


def first_at(start: str) -> str:
    """SQL for the earliest time of a session's measurements; of ``x``, its row of feature_strays."""
    return f"least({clamped(start)} - {_margin()}, x.first_at)"


def last_at(start: str, end: str) -> str:
    """SQL for the latest time of a session's measurements; as :func:`first_at`, and the end may be NULL."""
    return f"greatest({clamped(f'greatest({start}, {end})')} + {_margin()}, x.last_at)"


def clamped(moment: str) -> str:
    """SQL for a time that can be calculated with, and that Python can hold."""
    return f"greatest(least({moment}, {_literal(_LATEST)}), {_literal(_EARLIEST)})"


def _margin() -> str:
    return f"interval '{margin().total_seconds():.0f} seconds'"


def _literal(moment: datetime) -> str:
    return f"timestamptz '{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00'"


@dataclass(frozen=True, slots=True)
class Span:
    """Some stretches of time.

    Attributes
    ----------
    ranges : tuple of (datetime, datetime)
        In order, without overlaps; none: nothing lies inside.
    """

    ranges: tuple[tuple[datetime, datetime], ...]

    @classmethod
    def over(cls, ranges: Iterable[tuple[datetime, datetime]]) -> Span:
        """The span of some stretches, which may overlap and are joined where there are too many."""
        joined: list[tuple[datetime, datetime]] = []
        for first, last in sorted(ranges):
            if joined and first <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
            else:
                joined.append((first, last))
        if len(joined) > MOST_RANGES:
            widest = sorted(pairwise(joined), key=lambda pair: pair[1][0] - pair[0][1], reverse=True)
            edges = sorted((before[1], after[0]) for before, after in widest[: MOST_RANGES - 1])
            firsts = [joined[0][0], *(first for _, first in edges)]
            joined = list(zip(firsts, [*(last for last, _ in edges), joined[-1][1]], strict=True))
        return cls(tuple(joined))

    @classmethod
    def since(cls, moment: datetime) -> Span:
        """From the margin before a moment on."""
        return cls(((moment - margin(), _LATEST),))

    def on(self, measurement: str) -> str:
        """SQL on an alias of measurements."""
        column = f'{measurement}."timestamp"'
        if not self.ranges:
            return f"{column} < '-infinity'"  # leaves every piece out, which a plain "false" does not
        whole = _between(column, self.ranges[0][0], self.ranges[-1][1])
        if len(self.ranges) == 1:
            return whole
        # TimescaleDB leaves pieces out by the first condition alone.
        return f"{whole} AND ({' OR '.join(_between(column, *each) for each in self.ranges)})"

    def bound(self, first: str, last: str) -> tuple[Span, dict[str, datetime]]:
        """The same with bound parameters of these names, and these: the text of a statement stays the same.

        Of several ranges it is everything between; one without beginning or end stays as it is.
        """
        begin, end = self.ranges[0][0], self.ranges[-1][1]
        if begin <= _EARLIEST or end >= _LATEST:
            return self, {}
        return _BoundSpan(self.ranges, first, last), {first: begin, last: end}


@dataclass(frozen=True, slots=True)
class _BoundSpan(Span):
    first: str
    last: str

    def on(self, measurement: str) -> str:
        return f'{measurement}."timestamp" BETWEEN :{self.first} AND :{self.last}'


EVER = Span(((_EARLIEST, _LATEST),))
"""Excludes nothing."""


def _between(column: str, first: datetime, last: datetime) -> str:
    conditions = []
    if first > _EARLIEST:
        conditions.append(f"{column} >= {_literal(first)}")
    if last < _LATEST:
        conditions.append(f"{column} <= {_literal(last + timedelta(seconds=1))}")
    return f"({' AND '.join(conditions)})" if conditions else "true"
