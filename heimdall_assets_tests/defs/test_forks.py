"""Runs are forked from a process that has the imports, as long as it has the code that lies on the disk."""

from __future__ import annotations

import multiprocessing.forkserver
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.code_pointer import CodePointer, ModuleCodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._daemon.controller import create_daemon_of_type
from dagster_shared.record import copy

from heimdall_assets.db.locks import session_lock
from heimdall_assets.defs import forks
from heimdall_assets.defs.cancellation import NOTICED
from heimdall_assets.defs.forks import DEFINITIONS, PROCESS_TAG, LocalProcess, RunForks
from heimdall_assets.release import installed_release
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.dagster_api import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory


def origin(
    *, executable_path: str = sys.executable, pointer: CodePointer | None = None, job_name: str = "extract_sessions"
) -> JobPythonOrigin:
    """Where a code server says that a run's definitions come from."""
    if pointer is None:
        pointer = ModuleCodePointer(DEFINITIONS, "defs", working_directory=str(Path.cwd()))
    return JobPythonOrigin(job_name, RepositoryPythonOrigin(executable_path, pointer))


@pytest.fixture
def fork_server() -> Iterator[None]:
    """What this process forks from has the test's environment, and ends with the test."""
    yield
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


def launch(dagster: Dagster, session_ids: list[UUID]) -> DagsterRun:
    """Start a run over sessions as the daemon does."""
    listed = {"session_ids": [str(key) for key in session_ids]}
    run = dagster.add_run(
        DagsterRunStatus.STARTING,
        "extract_sessions",
        job_code_origin=origin(),
        run_config={"ops": {"extract_listed_sessions": {"config": listed}}},
    )
    dagster.instance.run_launcher.launch_run(LaunchRunContext(run, None))
    return run


def messages_of(dagster: Dagster, run: DagsterRun) -> list[str]:
    """What a run's log says."""
    return [log.message for log in dagster.instance.all_logs(run.run_id)]


def tags_of(dagster: Dagster, run: DagsterRun) -> dict[str, str]:
    """The run's tags now."""
    found = dagster.instance.get_run_by_id(run.run_id)
    assert found is not None
    return dict(found.tags)


def wait_for_status(dagster: Dagster, run: DagsterRun, status: DagsterRunStatus) -> None:
    """Wait until a run is in a state."""
    wait_for(lambda: dagster.status_of(run) == status, f"the run to be {status.value}", timeout_s=60)


def wait_for_end(process: LocalProcess) -> None:
    """Wait until a process is gone."""
    wait_for(lambda: process.is_gone, "the process to end", timeout_s=20, poll_s=0.01)


@pytest.mark.usefixtures("fork_server")
def test_runs_are_carried_out_by_processes_that_their_tags_name(dagster: Dagster, factory: SessionFactory) -> None:
    ids = factory.add_many(4)
    runs = [launch(dagster, ids[:2]), launch(dagster, ids[2:])]
    processes = [LocalProcess.from_tag(tags_of(dagster, run)[PROCESS_TAG]) for run in runs]
    assert len({process.pid for process in processes} | {os.getpid()}) == 3
    for run, process in zip(runs, processes, strict=True):
        wait_for_status(dagster, run, DagsterRunStatus.SUCCESS)
        wait_for_end(process)
        assert f"Started process for run (pid: {process.pid})." in messages_of(dagster, run)
    assert {factory.state(key) for key in ids} == {"done"}


@pytest.mark.usefixtures("fork_server")
def test_a_forked_run_is_cancelled_from_any_process(dagster: Dagster, factory: SessionFactory, engine: Engine) -> None:
    (key,) = factory.add_many(1)
    with session_lock(engine, key, timeout_seconds=5):
        run = launch(dagster, [key])
        wait_for_status(dagster, run, DagsterRunStatus.STARTED)
        assert dagster.instance.run_launcher.terminate(run.run_id)
        assert dagster.status_of(run) == DagsterRunStatus.CANCELING
        wait_for(lambda: NOTICED in messages_of(dagster, run), "its process to notice", timeout_s=30)
    wait_for_status(dagster, run, DagsterRunStatus.CANCELED)
    assert not dagster.instance.run_launcher.terminate(run.run_id)


def test_a_run_with_the_tag_of_a_process_that_is_gone_is_stopped_as_dagster_does(dagster: Dagster) -> None:
    """So it is where a run is executed again, with copies of its tags, by a code server."""
    gone = replace(LocalProcess.of(os.getpid()), started_s=0.0)
    run = dagster.add_run(DagsterRunStatus.STARTED, tags={PROCESS_TAG: gone.to_tag()})
    assert not dagster.instance.run_launcher.terminate(run.run_id)
    assert any("Unable to get grpc client" in message for message in messages_of(dagster, run))


@pytest.mark.usefixtures("fork_server")
def test_what_runs_are_forked_from_is_replaced_when_it_was_killed(dagster: Dagster, factory: SessionFactory) -> None:
    first, second = factory.add_many(2)
    run = launch(dagster, [first])
    wait_for_status(dagster, run, DagsterRunStatus.SUCCESS)
    (server,) = fork_servers()
    server.kill()
    wait_for(lambda: server.status() == psutil.STATUS_ZOMBIE, "it to end", timeout_s=10, poll_s=0.01)
    run = launch(dagster, [second])
    wait_for_status(dagster, run, DagsterRunStatus.SUCCESS)


def fork_servers() -> list[psutil.Process]:
    """Living ones of this process."""
    children = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if "forkserver" in " ".join(child.cmdline())]


@pytest.mark.usefixtures("fork_server")
def test_the_daemon_has_it_ready_before_there_is_a_run_and_nobody_else_starts_one(
    dagster: Dagster, factory: SessionFactory
) -> None:
    instance = dagster.instance
    assert instance.get_concurrency_config().run_queue_config  # as pages of the UI ask
    assert instance.run_launcher
    assert not fork_servers()
    create_daemon_of_type("QUEUED_RUN_COORDINATOR", instance)
    (server,) = fork_servers()
    run = launch(dagster, factory.add_many(1))
    wait_for_status(dagster, run, DagsterRunStatus.SUCCESS)
    assert fork_servers() == [server]


@pytest.mark.usefixtures("fork_server")
def test_with_workers_elsewhere_the_daemon_has_nothing_to_fork_from(
    dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    current_settings.cache_clear()
    with DagsterInstance.get() as instance:
        create_daemon_of_type("QUEUED_RUN_COORDINATOR", instance)
    assert not fork_servers()


def test_only_our_own_definitions_in_this_python_are_forked(dagster: Dagster, tmp_path: Path) -> None:
    def can(origin: JobPythonOrigin | None) -> bool:
        return RunForks().can_carry_out(replace_origin(run, origin))

    run = dagster.add_run(DagsterRunStatus.STARTING)
    assert can(origin())
    names = [path for path in Path(sys.executable).parent.glob("python*") if path.resolve().samefile(sys.executable)]
    assert all(can(origin(executable_path=str(path))) for path in names)
    assert not can(None)
    others = [tmp_path / "elsewhere" / "python", tmp_path / "python3"]  # another environment's, one that is not there
    others[0].parent.mkdir()
    others[0].symlink_to(Path(sys.executable).resolve())
    assert not any(can(origin(executable_path=str(path))) for path in others)
    assert not can(origin(pointer=ModuleCodePointer("somebody.elses", "defs", working_directory=None)))
    assert not can(origin(pointer=CodePointer.from_python_file("a_file.py", "defs", working_directory=None)))


def replace_origin(run: DagsterRun, origin: JobPythonOrigin | None) -> DagsterRun:
    """The same run of other code."""
    return copy(run, job_code_origin=origin)


def test_once_the_code_on_the_disk_has_changed_nothing_is_forked(
    dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dagster.add_run(DagsterRunStatus.STARTING, job_code_origin=origin())
    ours, before = RunForks(), installed_release()
    assert ours.can_carry_out(run)
    monkeypatch.setattr(forks, "installed_release", lambda: replace(before, digest="0123456789ab"))
    assert not ours.can_carry_out(run)
    assert RunForks().can_carry_out(run)  # a daemon that is started now has the new code


class TestLocalProcess:
    """Told by its number and its start."""

    def test_it_survives_a_tag(self) -> None:
        process = LocalProcess.of(os.getpid())
        assert LocalProcess.from_tag(process.to_tag()) == process
        assert not process.is_gone

    def test_one_that_has_ended_is_gone_and_so_is_one_whose_number_is_used_again(self) -> None:
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        process = LocalProcess.of(child)
        assert not process.is_gone
        assert replace(process, started_s=process.started_s - 60).is_gone
        os.kill(child, signal.SIGKILL)
        wait_for_end(process)  # a zombie
        os.waitpid(child, 0)
        assert process.is_gone

    def test_of_another_machines_nothing_is_known(self) -> None:
        assert not replace(LocalProcess.of(os.getpid()), host="elsewhere", pid=2**22).is_gone
