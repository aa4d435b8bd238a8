"""Which code runs: told by a digest of the sources, so that two checkouts of one version are not the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING

from heimdall_assets import release
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.release import RunningProcess, changed_at, installed_release, this_process

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_release_is_versions_and_a_digest_that_every_change_of_a_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = installed_release()
    assert (real.package_version, real.feature_version) == (version("heimdall-assets"), FEATURE_VERSION)
    assert real == installed_release()
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "a.py").write_text("one")
    monkeypatch.setattr(release, "PACKAGE_FOLDER", tmp_path)
    digests = [installed_release().digest]
    (tmp_path / "db" / "a.py").write_text("two")
    digests.append(installed_release().digest)
    (tmp_path / "db" / "a.py").rename(tmp_path / "a.py")
    digests.append(installed_release().digest)
    (tmp_path / "notes.txt").write_text("no source")
    digests.append(installed_release().digest)
    assert len({real.digest, *digests}) == 4
    assert digests[2] == digests[3]
    os.utime(tmp_path / "a.py", (1000.0, 1000.0))
    assert changed_at() == datetime.fromtimestamp(1000.0, UTC)


def test_a_process_keeps_saying_what_it_began_with_and_survives_its_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = this_process()
    assert process.pid == os.getpid()
    assert process.started_at < datetime.now(UTC)
    assert RunningProcess.from_json(json.loads(json.dumps(process.to_json()))) == process
    (tmp_path / "newer.py").write_text("")
    monkeypatch.setattr(release, "PACKAGE_FOLDER", tmp_path)
    assert this_process().release == process.release != installed_release()


def test_a_process_is_gone_once_it_has_ended_or_another_has_its_number() -> None:
    process = this_process()
    assert not process.is_gone
    assert replace(process, started_at=process.started_at - timedelta(minutes=1)).is_gone
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert replace(process, pid=ended.pid).is_gone
    assert not replace(process, pid=ended.pid, host="another machine").is_gone
