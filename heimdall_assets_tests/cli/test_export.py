"""`heimdall export`: what pandas reads back."""

from __future__ import annotations

import builtins
import json
from importlib import util
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from heimdall_assets import export as exporting
from heimdall_assets.cli.app import app
from heimdall_assets.dsp import FEATURES
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.factory import GOOD, TRUNCATED

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine
    from typer.testing import Result

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

pytestmark = pytest.mark.usefixtures("environment")

NAMES = [f"{feature.name}_{stat}" for feature in FEATURES for stat in ("mean", "std", "min", "max")]


def export(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.fixture
def done(engine: Engine, factory: SessionFactory, settings: Settings) -> int:
    """Three sessions of three receivers, one of which failed once; the number of samples."""
    ids = [*factory.add_many(2), factory.add((GOOD, GOOD, TRUNCATED), minutes=9)]
    for key in ids:
        extract_session(engine, key, settings)
    return 8


def test_parquet_read_back_is_a_row_a_session_and_receiver_with_72_figures_and_their_units(
    done: int, factory: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PAGE_SESSIONS", 2)
    path = tmp_path / "samples.parquet"
    result = export("-o", path, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {
        "output": str(path),
        "feature_version": FEATURE_VERSION,
        "rows": done,
        "sessions": 3,
        "bytes": path.stat().st_size,
    }
    frame = pd.read_parquet(path)
    assert len(frame) == done
    assert not frame.duplicated(["recording_session_id", "station_name"]).any()
    assert [name for name in frame.columns if name in NAMES] == NAMES
    assert (frame.dtypes[NAMES] == "float64").all()
    assert str(frame.dtypes["session_start"]) == "datetime64[us, UTC]"
    assert set(frame["feature_version"]) == {FEATURE_VERSION}
    assert frame["snr_db_mean"].to_numpy() == pytest.approx(17, abs=0.5)
    assert frame["multipath_delay_spread_us_mean"].isna().all()
    assert not frame["tx_known"].any()
    known = {str(key) for (key,) in factory.rows("SELECT id FROM heimdall.recording_sessions")}
    assert set(frame["recording_session_id"]) == known
    schema = parquet.read_schema(path)
    assert schema.metadata[b"feature_version"] == str(FEATURE_VERSION).encode()
    for feature in FEATURES:
        about = schema.field(f"{feature.name}_std").metadata
        assert about[b"unit"] == feature.unit.encode()
        assert feature.description.encode() in about[b"description"]
    assert schema.field("rx_altitude_m").metadata[b"unit"] == b"m"


def test_csv_holds_the_same_and_twice_the_same_bytes(done: int, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.parquet", "b.csv", "c.csv.gz", "d.csv.gz")]
    for path in paths:
        assert export("-o", path).exit_code == 0
    expected, *others = (
        pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, parse_dates=["session_start"])
        for path in paths
    )
    for frame in others:
        assert len(frame) == done
        assert list(frame.columns) == list(expected.columns)
        pd.testing.assert_frame_equal(frame[NAMES], expected[NAMES], check_dtype=False)
        assert list(frame["session_start"]) == list(expected["session_start"])
        assert list(frame["station_id"]) == list(expected["station_id"])
    assert paths[2].read_bytes() == paths[3].read_bytes()


def test_a_version_without_samples_leaves_no_file_and_says_of_which_there_are_some(done: int, tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    path.write_bytes(b"as it was")
    result = export("-o", path, "--version", FEATURE_VERSION + 7)
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert f"no samples of feature version {FEATURE_VERSION + 7} ({done} of version {FEATURE_VERSION})" in said
    assert path.read_bytes() == b"as it was"
    assert [entry.name for entry in tmp_path.iterdir() if "old" in entry.name] == ["old.parquet"]


def test_a_file_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "samples.xlsx", "a file that ends in .parquet, .csv, .csv.gz"),
        (tmp_path / "no-such-folder" / "samples.csv", "cannot be written: No such file or directory"),
    ):
        result = export("-o", path)
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.split())


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find, load = util.find_spec, builtins.__import__

    def without(name: str, *more: Any, **options: Any) -> Any:
        return None if name == "pyarrow" else find(name, *more, **options)

    def refuse(name: str, *more: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(name)
        return load(name, *more, **options)

    monkeypatch.setattr(exporting, "find_spec", without)
    monkeypatch.setattr(builtins, "__import__", refuse)
    result = export("-o", tmp_path / "samples.parquet")
    assert result.exit_code == 2
    assert "pip install 'heimdall-assets[export]'" in " ".join(result.stderr.split())
