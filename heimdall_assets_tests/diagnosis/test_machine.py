"""Checks of this machine against real faults: no server, old processes, little room, roots that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from heimdall_assets import embedded
from heimdall_assets.diagnosis import diagnose
from heimdall_assets.diagnosis.machine import (
    disk_finding,
    home_finding,
    processes_finding,
    root_findings,
    server_finding,
)
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets.settings import Settings

TOO_MUCH_BYTES = 1 << 60


def test_an_embedded_server_is_not_there_yet_runs_or_has_stopped(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home", database_url=None)
    assert (server_finding(settings).status, "none under" in server_finding(settings).message) == ("failure", True)
    with embedded.database(settings):
        running = server_finding(settings)
        assert (running.status, running.remedy) == ("ok", None)
        assert f"process {embedded.server_pid(settings.home)}" in running.message
        checks = [finding.check for finding in diagnose(settings)]
    assert server_finding(settings).message.endswith("is not running")
    assert server_finding(settings).remedy == "start `heimdall up`"
    assert checks[:4] == ["home", "disk_home", "embedded_server", "database"]
    [store] = root_findings(settings)
    assert (store.status, store.remedy) == ("warning", "the first `heimdall ingest` makes it")


def test_a_process_with_this_home_that_is_older_than_the_code_is_named(settings: Settings, tmp_path: Path) -> None:
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    environment = {**os.environ, "HEIMDALL_HOME": str(settings.home)}
    with subprocess.Popen(
        [sys.executable, "-c", code, "heimdall_assets.web"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        now = datetime.now(UTC)
        current = processes_finding(settings, now - timedelta(hours=1))
        old = processes_finding(settings, now + timedelta(hours=1))
        elsewhere = settings.model_copy(update={"home": tmp_path / "elsewhere"})
        others = processes_finding(elsewhere, now + timedelta(hours=1))
        process.communicate()
    assert (current.status, others.status) == ("ok", "ok")
    assert old.status == "warning"
    assert f"{process.pid} (API)" in old.message


@pytest.mark.parametrize(
    ("little_bytes", "least_bytes", "status"),
    [(1, 1, "ok"), (TOO_MUCH_BYTES, 1, "warning"), (TOO_MUCH_BYTES, TOO_MUCH_BYTES, "failure")],
)
def test_little_room_is_a_warning_then_a_failure(
    tmp_path: Path, little_bytes: int, least_bytes: int, status: str
) -> None:
    folder = tmp_path / "not" / "yet"
    finding = disk_finding("disk_home", folder, little_bytes=little_bytes, least_bytes=least_bytes)
    assert (finding.check, finding.status) == ("disk_home", status)
    assert finding.message.endswith(f" GiB free for {folder}")
    assert (finding.remedy is None) == (status == "ok")


def test_a_home_is_missing_then_writable(settings: Settings) -> None:
    assert home_finding(settings).status == "warning"
    settings.home.mkdir()
    assert home_finding(settings).status == "ok"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_a_failure(settings: Settings) -> None:
    settings.home.mkdir(mode=0o500)
    assert home_finding(settings).status == "failure"


def test_every_root_is_asked_and_the_disks_of_folders_are_looked_at(settings: Settings, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    several = settings.model_copy(update={"iq_extra_roots": (gone, "memory://old")})
    findings = {finding.check: finding for finding in root_findings(several)}
    assert list(findings) == ["store", "disk_iq", "store_1", "store_2"]
    assert [findings[name].status for name in ("store", "store_1", "store_2")] == ["ok", "failure", "ok"]
    assert findings["store_1"].message == f"{gone} cannot be listed: No such file or directory"
    assert "HEIMDALL_IQ_EXTRA_ROOTS" in str(findings["store_1"].remedy)
