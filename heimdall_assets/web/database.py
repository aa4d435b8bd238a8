"""The server's way to PostgreSQL: opened when it is needed, and anew after a failure."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import heimdall_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import URL, Connection, Engine

    from heimdall_assets.settings import Settings

POOL_SIZE = 5


class Database:
    """Heimdall's database for a server that outlives restarts of it.

    Parameters
    ----------
    settings : Settings
        Where it is.
    url_of : callable
        Which database: Heimdall's, or Dagster's.
    """

    def __init__(self, settings: Settings, url_of: Callable[[Settings], URL] = heimdall_url) -> None:
        self._settings = settings
        self._url_of = url_of
        self._engine: Engine | None = None
        self._guard = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One short transaction.

        Raises
        ------
        DatabaseError
            The database cannot do it; call :meth:`forget` then.
        """
        with transaction(self._opened()) as connection:
            yield connection

    def forget(self) -> None:
        """Look for the database anew next time: an embedded server may come back at another address."""
        with self._guard:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def _opened(self) -> Engine:
        # Opened at the first request: a server that is away now may be there then.
        with self._guard:
            if self._engine is None:
                self._engine = open_engine(self._url_of(self._settings), pool_size=POOL_SIZE)
            return self._engine
