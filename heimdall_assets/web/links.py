"""Where every figure leads on to: lists and sessions here, partitions and runs in Dagster's UI."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from uuid import UUID

    from heimdall_assets.db.recent import Position

ASSET = "assets/measurement_features"


class Links:
    """Addresses for pages.

    Parameters
    ----------
    dagster_ui_url : str
        Where Dagster's UI is.
    has_pages : bool
        False in a file of its own, which has no lists and sessions beside it: a session leads to its partition then.
    """

    def __init__(self, dagster_ui_url: str, *, has_pages: bool = True) -> None:
        self._dagster = dagster_ui_url.rstrip("/")
        self.has_pages = has_pages

    @property
    def dagster(self) -> str:
        """Dagster's UI."""
        return self._dagster

    @property
    def asset(self) -> str:
        """The asset measurement_features with its partitions."""
        return f"{self._dagster}/{ASSET}?view=partitions"

    def partition(self, session_id: UUID) -> str:
        """A session's partition."""
        return f"{self._dagster}/{ASSET}?{urlencode({'view': 'partitions', 'partition': session_id})}"

    def run(self, run_id: str) -> str:
        """A run."""
        return f"{self._dagster}/runs/{quote(run_id, safe='')}"

    def session(self, session_id: UUID) -> str:
        """A session's page."""
        return f"/sessions/{session_id}" if self.has_pages else self.partition(session_id)

    def sessions(self, after: Position | None = None, **filters: str) -> str | None:
        """A list of sessions; None where there are no pages."""
        if not self.has_pages:
            return None
        if after is not None:
            filters.update(after=after.completed_at.isoformat(), after_id=str(after.session_id))
        return f"/sessions?{urlencode(filters)}" if filters else "/sessions"

    @staticmethod
    def picture(session_id: UUID, measurement_id: UUID, kind: str, theme: str) -> str:
        """A picture of a recording."""
        return f"/sessions/{session_id}/receivers/{measurement_id}/{kind}.png?theme={theme}"
