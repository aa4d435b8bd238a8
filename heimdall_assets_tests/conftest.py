"""A real PostgreSQL for the whole run, a fresh database for every test that asks, and Dagster on the same server."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import settings as hypothesis_settings

from heimdall_assets import embedded
from heimdall_assets.db import migrate
from heimdall_assets.db.engine import autocommit, create_database_if_missing, open_engine
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.iq.buckets import forget_buckets
from heimdall_assets.settings import Settings, current_settings, load_settings
from heimdall_assets_tests.factory import SessionFactory
from heimdall_assets_tests.object_store import ENVIRONMENT, ObjectStore, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import S3Store
    from sqlalchemy.engine import URL, Engine

TEMPLATE = "template_heimdall"
MEMORY_BYTES = 4 * 2**30
"""Free ones from which on the servers of all workers are held in memory; they take a quarter of a gigabyte each."""

# A busy machine is no defect: no example is timed.
# On CI the same code sees the same examples, so that what fails there fails here too; elsewhere they are new each time.
hypothesis_settings.register_profile("heimdall", deadline=None, derandomize=os.environ.get("CI") == "true")
hypothesis_settings.load_profile("heimdall")


SLOWEST_FIRST = (
    "test_requests_pipeline",
    "test_pipeline",
    "test_running",
    "test_fleet",
    "test_rehearsal",
    "test_recovery",
    "test_embedded",
    "test_demo",
    "test_backfill",
)
"""Files that wait for real daemons: begun first, so that no worker is left alone with one at the end."""


def pytest_configure(config: pytest.Config) -> None:
    """Set up this process, and those of the workers, which are started after this.

    Threads of the BLAS wait for work with a processor that other tests need. What is imported while tests are
    collected stays: looking there for garbage takes seconds of each process. Where the kernels have not been compiled
    yet, that is done once while the workers collect, instead of by all of them at once.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()
    if config.getoption("numprocesses"):
        compiling = subprocess.Popen([sys.executable, "-c", "from heimdall_assets import dsp; dsp.load_kernels()"])
        atexit.register(compiling.wait)


def pytest_collection_finish() -> None:
    """Look for garbage from here on, in what the tests make alone."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first; the others keep their order."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return SLOWEST_FIRST.index(name) if name in SLOWEST_FIRST else len(SLOWEST_FIRST)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No HEIMDALL_ variable of the machine reaches a test, and no settings of one test the next."""
    for name in Settings.model_fields:
        monkeypatch.delenv(Settings.variable(name), raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    current_settings.cache_clear()
    yield
    current_settings.cache_clear()


@pytest.fixture(scope="session")
def server_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory, where there is enough of it: a database is a thousand files, made anew for every test."""
    memory = Path("/dev/shm")
    if not (os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_BYTES):
        yield tmp_path_factory.mktemp("server")
        return
    with tempfile.TemporaryDirectory(prefix="heimdall-", dir=memory) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def server_url(server_home: Path) -> Iterator[URL]:
    """The embedded PostgreSQL, with a template database at the newest revision."""
    settings = load_settings(home=server_home, database_url=None)
    with embedded.database(settings):
        url = heimdall_url(settings).set(database=TEMPLATE)
        create_database_if_missing(url)
        engine = open_engine(url)
        with autocommit(engine) as connection:
            # Hundreds of databases come and go, and nobody needs them after a crash of the machine.
            for parameter in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(sa.text(f"ALTER SYSTEM SET {parameter} = off"))
            # A template's files are copied within the kernel, where the server (18 or later) and the system can.
            can_clone = "SELECT 'clone' = ANY (enumvals) FROM pg_settings WHERE name = 'file_copy_method'"
            if connection.scalar(sa.text(can_clone)):
                connection.execute(sa.text("ALTER SYSTEM SET file_copy_method = clone"))
            connection.execute(sa.text("SELECT pg_reload_conf()"))
        migrate.upgrade(engine)
        engine.dispose()
        yield url
        maintenance(url.set(database="postgres")).dispose()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[ObjectStore]:
    """An S3 server, in a process of its own."""
    with serving() as store:
        yield store


@pytest.fixture
def object_store(s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """The S3 server, with endpoint and credentials in the environment."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HEIMDALL_S3_ENDPOINT_URL", s3_server.endpoint)
    forget_buckets()
    yield s3_server
    forget_buckets()


@pytest.fixture
def bucket(object_store: ObjectStore) -> str:
    """Name of a bucket of the test's own."""
    name = f"iq-{uuid.uuid4().hex[:12]}"
    object_store.make_bucket(name)
    return name


@pytest.fixture
def client(object_store: ObjectStore, bucket: str) -> S3Store:
    """Client of that bucket."""
    return object_store.bucket(bucket)


@cache
def maintenance(url: URL) -> Engine:
    """Engine that makes and drops a server's databases; one is enough, hundreds come and go."""
    return open_engine(url, pool_size=1)


def make_database(server_url: URL, template: str = TEMPLATE) -> URL:
    """Create a database from a template; returns its URL."""
    name = f"t{uuid.uuid4().hex[:12]}"
    with autocommit(maintenance(server_url.set(database="postgres"))) as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
    return server_url.set(database=name)


def drop_database(url: URL) -> None:
    """Drop a test's database, whoever is still connected."""
    with autocommit(maintenance(url.set(database="postgres"))) as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)"))


@pytest.fixture
def database_url(server_url: URL) -> Iterator[URL]:
    """A database of the test's own, at the newest revision, without rows."""
    url = make_database(server_url)
    yield url
    drop_database(url)


@pytest.fixture
def settings(database_url: URL, tmp_path: Path) -> Settings:
    """Settings with the test's database and an IQ root below its folder."""
    return settings_for(database_url, tmp_path)


def settings_for(database_url: URL, folder: Path, **more: object) -> Settings:
    """Settings of a database, with everything else below a folder."""
    root = folder / "iq"
    root.mkdir(exist_ok=True)
    return load_settings(
        database_url=database_url.render_as_string(hide_password=False),
        home=folder / "home",
        iq_root=str(root),
        retry_base_seconds=0.2,
        retry_max_seconds=1.0,
        workers=2,
        **more,
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """Engine of the test's database."""
    engine = open_engine(heimdall_url(settings), pool_size=8)
    yield engine
    engine.dispose()


@pytest.fixture
def factory(engine: Engine, settings: Settings) -> SessionFactory:
    """Makes recording sessions in the test's database."""
    return SessionFactory(engine, settings)


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The settings as environment variables, and a Dagster home with the project's dagster.yaml; its path."""
    for name, value in environment_of(settings, tmp_path).items():
        monkeypatch.setenv(name, value)
    current_settings.cache_clear()
    return tmp_path / "dagster"


def environment_of(settings: Settings, folder: Path) -> dict[str, str]:
    """HEIMDALL_ variables and DAGSTER_HOME for processes that are to use the settings."""
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    shutil.copyfile(embedded.project_file("dagster.yaml"), home / "dagster.yaml")
    names = ("database_url", "home", "iq_root", "retry_base_seconds", "retry_max_seconds", "workers", "batch_size")
    return {
        "DAGSTER_HOME": str(home),
        **{Settings.variable(name): str(getattr(settings, name)) for name in names},
    }
