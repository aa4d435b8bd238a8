"""Dagster's tables in PostgreSQL, found by the HEIMDALL_ environment.

dagster.yaml names this class: its ``postgres:`` block can read a variable, but cannot fall back to a default, and a
missing variable stops every Dagster process with a message about YAML.
"""

from collections.abc import Mapping
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from heimdall_assets.db.engine import create_database_if_missing
from heimdall_assets.db.urls import dagster_url
from heimdall_assets.settings import current_settings


class HeimdallStorage(DagsterPostgresStorage):
    """dagster-postgres, with the database of HEIMDALL_DAGSTER_DATABASE_URL or its default."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No configuration: the environment says it."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> "HeimdallStorage":
        """Connect; creates the database where it is missing and the role may."""
        url = dagster_url(current_settings())
        create_database_if_missing(url)
        return cls(url.render_as_string(hide_password=False), inst_data=inst_data)
