"""The jobs: a contiguous range of sessions, or any list of them."""

from dagster import AssetSelection, Config, OpExecutionContext, define_asset_job, job, op
from pydantic import Field

from heimdall_assets.db import pauses, requests
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.requests import Selection
from heimdall_assets.defs.assets import measurement_features
from heimdall_assets.defs.resources import Heimdall
from heimdall_assets.defs.walk import extract_and_report
from heimdall_assets.records import FEATURE_VERSION

extract_features = define_asset_job(
    "extract_features",
    selection=AssetSelection.assets(measurement_features),
    description="Features of a contiguous range of sessions.",
)


class SessionList(Config):
    """Which sessions, in any order."""

    session_ids: list[str] = Field(description="UUIDs of recording sessions")
    recompute: bool = Field(default=False, description="Compute again even what has features of this version")
    stale: bool = Field(
        default=False,
        description="Compute again what is stale: of an older version, of other code, of other settings of a receiver",
    )


@op(description="Extracts a list of sessions and materializes their partitions of measurement_features.")
def extract_listed_sessions(context: OpExecutionContext, config: SessionList, heimdall: Heimdall) -> None:
    """Scattered keys in one run: every gap between partition ranges would cost a run of its own."""
    with heimdall.engine() as engine:
        extract_and_report(
            context,
            engine,
            config.session_ids,
            heimdall.settings,
            recompute=config.recompute,
            stale=config.stale,
        )


@job(description="Features of scattered sessions: retries, stale ones, requests.")
def extract_sessions() -> None:
    """One op: a list of ids needs no plan."""
    extract_listed_sessions()


class BatchRequest(Config):
    """What the Celery task of the same name took."""

    batch_size: int = Field(default=50, ge=1, le=1000, description="Sessions in one run")
    max_batches: int | None = Field(default=5, ge=1, description="Most runs; null: no limit")


@op(description="Records a request for pending sessions and ends; the sensor carries it out.")
def request_batches(context: OpExecutionContext, config: BatchRequest, heimdall: Heimdall) -> None:
    """The newest pending sessions, up to batch_size x max_batches."""
    context.log.info(
        "Starting batch feature extraction (batch_size=%d, max_batches=%s)", config.batch_size, config.max_batches
    )
    limit = None if config.max_batches is None else config.batch_size * config.max_batches
    _request(context, heimdall, Selection(pending=True, limit=limit, batch_size=config.batch_size))


@op(description="Records a request for every pending session and ends; the sensor carries it out.")
def request_everything(context: OpExecutionContext, heimdall: Heimdall) -> None:
    """All that is pending now."""
    context.log.info("Starting full backfill of feature extraction")
    _request(context, heimdall, Selection(pending=True))


def _request(context: OpExecutionContext, heimdall: Heimdall, selection: Selection) -> None:
    with heimdall.engine() as engine, transaction(engine) as connection:
        found = requests.count(connection, selection, feature_version=FEATURE_VERSION)
        request_id = requests.submit(connection, selection, requested_by=f"run {context.run_id}")
        pause = pauses.current_pause(connection)
    context.log.info("Found %d recordings without features", found)
    context.log.info("Queued %d feature extraction tasks", found)
    if pause is not None:
        context.log.warning("the request waits: %s", pause.in_words)
    context.add_output_metadata({"request": str(request_id), "found": found})


@job(description="Asks for a number of pending sessions, as the Celery task of this name did.")
def batch_feature_extraction() -> None:
    """Record a request; never wait for it."""
    request_batches()


@job(description="Asks for every pending session, as the Celery task of this name did.")
def backfill_all_features() -> None:
    """Record a request; never wait for it."""
    request_everything()
