"""What assets, sensors and schedules need from outside: the database and the settings."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import ConfigurableResource
from sqlalchemy.engine import Engine

from heimdall_assets.db.engine import open_engine
from heimdall_assets.db.migrate import require_current
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.settings import Settings, current_settings


class Heimdall(ConfigurableResource[None]):
    """Heimdall's database and the settings of this process, both from the HEIMDALL_ environment."""

    @property
    def settings(self) -> Settings:
        """The settings, read once a process."""
        return current_settings()

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Engine for the block, checked to be at the revision that this code needs.

        Raises
        ------
        DatabaseError
            Not available, or not upgraded.
        """
        # A run holds a connection for the lock of each session that is begun, and two of its own.
        engine = open_engine(heimdall_url(self.settings), pool_size=self.settings.sessions_under_way + 2)
        try:
            require_current(engine)
            yield engine
        finally:
            engine.dispose()
