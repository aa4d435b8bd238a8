"""The Celery application that the launcher sends runs with, and that workers take them from."""

from celery import Celery
from dagster_celery.make_app import make_app
from kombu import Queue

from heimdall_assets.settings import Settings

EXECUTE_RUN = "heimdall.execute_run"
"""Name of the one task: a whole Dagster run."""

FRESH = "fresh"
BACKFILL = "backfill"
QUEUES = (FRESH, BACKFILL)
"""What a worker may serve. One that serves both takes fresh work first."""

CONNECT_TIMEOUT_S = 3

CONFIG = {
    # Nobody reads results: Dagster's tables say what became of a run, and the run's lock whether it is alive.
    "task_ignore_result": True,
    # A message is acknowledged when its run has ended. So a busy worker holds one run and has none waiting behind it
    # that an idle one could take, and the message of a worker that died comes back (from Redis late, from RabbitMQ at
    # once), whereupon the run is found dead; see execution.py.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    # What a run prints is Dagster's to capture, which it does on the file descriptors.
    "worker_redirect_stdouts": False,
    "worker_hijack_root_logger": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_connection_timeout": CONNECT_TIMEOUT_S,
    # The run queue asks again by itself: sending must only not hang.
    "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.2},
    "broker_transport_options": {
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.2,
        "queue_order_strategy": "priority",
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
    },
}


def queue_name(queue: str) -> str:
    """Name of a queue at the broker."""
    return f"heimdall-{queue}"


def broker_url(settings: Settings) -> str:
    """The broker's URL, which must be set."""
    if settings.celery_broker_url is None:
        raise ValueError(f"{settings.variable('celery_broker_url')} is not set")
    return settings.celery_broker_url.get_secret_value()


def configure(app: Celery) -> Celery:
    """Give an application of dagster-celery our queues; the launcher's and the workers' must be the same."""
    app.conf.task_queues = [Queue(queue_name(queue), routing_key=queue_name(queue)) for queue in QUEUES]
    app.conf.task_default_queue = queue_name(FRESH)
    app.conf.task_queue_max_priority = None
    app.conf.task_default_priority = None
    app.conf.task_routes = {}
    return app


def fleet_app(settings: Settings) -> Celery:
    """The application of a worker."""
    return configure(make_app({"broker": broker_url(settings), "backend": None, "config_source": dict(CONFIG)}))
