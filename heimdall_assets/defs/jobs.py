"""The jobs: a contiguous range of sessions, or any list of them."""

from dagster import AssetSelection, Config, OpExecutionContext, define_asset_job, job, op
from pydantic import Field

from heimdall_assets.defs.assets import measurement_features
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.walk import extract_and_report

extract_features = define_asset_job(
    "extract_features",
    selection=AssetSelection.assets(measurement_features),
    description="Features of a contiguous range of sessions.",
)


class SessionList(Config):
    """Which sessions, in any order."""

    session_ids: list[str] = Field(description="UUIDs of recording sessions")
    recompute: bool = Field(default=False, description="Compute again even what has features of this version")


@op(description="Extracts a list of sessions and materializes their partitions of measurement_features.")
def extract_listed_sessions(context: OpExecutionContext, config: SessionList, heimdall: Heimdall) -> None:
    """Scattered keys in one run: every gap between partition ranges would cost a run of its own."""
    with heimdall.engine() as engine:
        extract_and_report(context, engine, config.session_ids, heimdall.settings, recompute=config.recompute)


@job(description="Features of scattered sessions: retries, stale ones, requests.")
def extract_sessions() -> None:
    """One op: a list of ids needs no plan."""
    extract_listed_sessions()
