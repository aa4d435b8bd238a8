"""`heimdall compare` on sessions of the synthetic network that the replaced job has measured."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.dsp import FEATURES
from heimdall_assets.extraction import extract_session
from heimdall_assets.ingest import ingest
from heimdall_assets.settings import current_settings
from heimdall_assets.synthetic import SyntheticNetwork
from heimdall_assets_tests.conftest import drop_database, environment_of, make_database, settings_for
from heimdall_assets_tests.replaced import write_old_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from sqlalchemy.engine import URL, Engine
    from typer.testing import Result

    from heimdall_assets.settings import Settings

NUM_RECEIVERS = 3
SIGNALS = (("fm_repeater", 40.0), ("cw", 10.0), ("cw", -15.0), ("qpsk", 20.0), ("nbfm", -200.0))
"""Modulation and radiated power in dBm of a session each: strong, weak, very weak, and nothing but noise at the end."""


@dataclass(frozen=True)
class Replaced:
    """A database whose sessions other code has measured, in the order of SIGNALS."""

    engine: Engine
    settings: Settings
    session_ids: list[UUID]
    folder: Path

    def fingerprint(self) -> list[tuple[Any, ...]]:
        """All that a comparison could have left behind."""
        tables = ("measurement_features", "measurement_features_history", "feature_states", "feature_attempts")
        with transaction(self.engine) as connection:
            return [
                tuple(connection.scalars(sa.text(f"SELECT t::text FROM heimdall.{table} t ORDER BY 1")))
                for table in tables
            ]


@pytest.fixture(scope="module")
def replaced(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replaced]:
    """The network's recordings and the replaced job's rows."""
    folder = tmp_path_factory.mktemp("replaced")
    url = make_database(server_url)
    settings = settings_for(url, folder)
    engine = open_engine(heimdall_url(settings))
    network = SyntheticNetwork(seed=1, num_receivers=NUM_RECEIVERS)
    by_modulation = {session.transmitter.modulation: session for session in network.sessions(40) if not session.fault}
    folders = []
    for index, (modulation, power_dbm) in enumerate(SIGNALS):
        session = by_modulation[modulation]
        sent = replace(session.transmitter, power_dbm=power_dbm)
        folders.append(network.write(replace(session, name=f"s{index}", transmitter=sent), folder / "recordings"))
    session_ids = [result.session_id for result in ingest(folders, engine, settings)]
    for session_id in session_ids:
        assert session_id is not None
        write_old_row(engine, session_id, Path(settings.resolved_iq_root), network.sample_rate_hz)
    yield Replaced(engine, settings, [key for key in session_ids if key is not None], folder)
    engine.dispose()
    drop_database(url)


@pytest.fixture(autouse=True)
def environment(replaced: Replaced, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command works on the module's database."""
    for name, value in environment_of(replaced.settings, replaced.folder).items():
        monkeypatch.setenv(name, value)
    current_settings.cache_clear()


def heimdall(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


def document(*arguments: object) -> Any:
    """The JSON that a successful command prints."""
    result = heimdall(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


def of_session(replaced: Replaced, index: int) -> dict[str, dict[str, Any]]:
    """Feature -> its figures, where no other session has features by other code."""
    others = [key for at, key in enumerate(replaced.session_ids) if at != index]
    mark = "UPDATE heimdall.measurement_features SET extraction_failed = {} WHERE recording_session_id = ANY (:ids)"
    with transaction(replaced.engine) as connection:
        connection.execute(sa.text(mark.format("true")), {"ids": others})
    try:
        found = document("compare")
    finally:
        with transaction(replaced.engine) as connection:
            connection.execute(sa.text(mark.format("false")), {"ids": others})
    assert (found["sessions_found"], found["receivers_compared"]) == (1, NUM_RECEIVERS)
    return {feature["name"]: feature for feature in found["features"]}


def test_all_features_of_all_receivers_are_compared_and_nothing_is_stored(replaced: Replaced) -> None:
    before = replaced.fingerprint()
    found = document("compare", "--sample", "50")
    assert replaced.fingerprint() == before
    assert (found["sessions_found"], found["sessions_compared"], found["sessions_unreadable"]) == (5, 5, {})
    assert (found["receivers_compared"], found["receivers_unreadable"], found["receivers_unmatched"]) == (15, {}, 0)
    assert [feature["name"] for feature in found["features"]] == [feature.name for feature in FEATURES]
    for feature in found["features"]:
        assert feature["receivers"] == 15
        assert (feature["why"] is not None) == (feature["differing"] > 0)
        if feature["both"]:
            assert feature["lower_quartile"] <= feature["median_difference"] <= feature["upper_quartile"]
            worst = feature["worst"]
            assert worst["session_id"] in set(map(str, replaced.session_ids))
            assert worst["difference"] == pytest.approx(worst["new"] - worst["old"])
            assert abs(worst["difference"]) >= abs(feature["median_difference"])


def test_noise_that_read_eight_decibels_has_no_snr_now_and_no_signal(replaced: Replaced) -> None:
    noise = of_session(replaced, 4)
    assert noise["snr_db"]["median_old"] == pytest.approx(7.9, abs=0.1)
    assert (noise["snr_db"]["old_only"], noise["snr_db"]["median_new"]) == (NUM_RECEIVERS, None)
    assert (noise["signal_present"]["median_old"], noise["signal_present"]["median_new"]) == (1.0, 0.0)
    assert noise["noise_floor_dbm"]["median_difference"] == pytest.approx(7.9, abs=0.2)
    assert noise["rssi_dbm"]["differing"] == 0
    assert noise["envelope_mean"]["differing"] == 0


def test_a_carrier_in_the_noise_read_eight_decibels_and_reads_its_snr_now(replaced: Replaced) -> None:
    carrier = of_session(replaced, 2)
    assert carrier["snr_db"]["median_old"] == pytest.approx(8.0, abs=0.3)
    assert carrier["snr_db"]["median_new"] == pytest.approx(8.9 - 25, abs=0.5)  # 25 dB below what gives 8.9 dB


def test_the_delay_spread_of_a_tone_was_thousands_of_microseconds_and_is_null(replaced: Replaced) -> None:
    tone = of_session(replaced, 1)
    spread = tone["multipath_delay_spread_us"]
    assert spread["median_old"] > 10_000
    assert (spread["old_only"], spread["median_new"]) == (NUM_RECEIVERS, None)
    assert tone["delay_spread_confidence"]["median_new"] == 0.0


def test_the_bandwidth_of_qpsk_was_far_too_small_and_is_what_it_occupies(replaced: Replaced) -> None:
    bandwidth = of_session(replaced, 3)["bandwidth_hz"]
    assert bandwidth["median_old"] < 2000
    assert bandwidth["median_new"] == pytest.approx(20_600, rel=0.05)  # 18 kBd, root-raised cosine 0.35


def test_the_same_seed_compares_the_same_sessions(replaced: Replaced) -> None:
    first, second = (document("compare", "--sample", "1", "--seed", "3") for _ in range(2))
    assert (first["sessions_found"], first["sessions_compared"]) == (5, 1)
    assert first == second


def test_for_people_it_is_a_table_with_the_reasons_of_what_differs(replaced: Replaced) -> None:
    result = heimdall("compare")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("15 receivers of 5 sessions; 5 sessions have features by other code")
    for feature in FEATURES:
        assert feature.name in result.stdout
    reasons = result.stdout.partition("Why they differ:")[2]
    assert "snr_db: White noise no longer reads about 8 dB" in reasons
    assert "rssi_dbm" not in reasons


def test_the_picture_is_a_png(replaced: Replaced, tmp_path: Path) -> None:
    picture = tmp_path / "comparison.png"
    assert heimdall("compare", "-o", picture).exit_code == 0
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 50_000


@pytest.mark.parametrize(
    ("output", "message"),
    [("x.txt", "a file that ends in .png, .svg, .pdf"), ("no-such-folder/x.png", "there is no folder")],
)
def test_a_picture_that_cannot_be_written_is_refused_before_the_work(output: str, message: str) -> None:
    result = heimdall("compare", "-o", output)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_unreadable_sessions_and_receivers_are_counted_by_reason(replaced: Replaced) -> None:
    whole = Path(replaced.settings.resolved_iq_root)
    with transaction(replaced.engine) as connection:
        query = "SELECT iq_data_location FROM heimdall.measurements WHERE recording_session_id = :id ORDER BY id"
        missing, cut = (
            [whole / path for path in connection.scalars(sa.text(query), {"id": replaced.session_ids[at]})]
            for at in (0, 1)
        )
    contents = {path: path.read_bytes() for path in (*missing, cut[0])}
    try:
        for path in missing:
            path.unlink()
        cut[0].write_bytes(contents[cut[0]][:1_000])
        found = document("compare")
    finally:
        for path, content in contents.items():
            path.write_bytes(content)
    assert (found["sessions_compared"], found["sessions_unreadable"]) == (4, {"not_found": 1})
    assert (found["receivers_compared"], found["receivers_unreadable"]) == (11, {"truncated": 1})


def test_rows_by_other_code_are_read_whatever_their_keys_nesting_and_values(replaced: Replaced) -> None:
    key = replaced.session_ids[0]
    query = "SELECT name, latitude, longitude FROM heimdall.websdr_stations ORDER BY name"
    set_row = "UPDATE heimdall.measurement_features SET receiver_features = CAST(:receivers AS jsonb[]) "
    with transaction(replaced.engine) as connection:
        before = connection.scalar(
            sa.text("SELECT receiver_features FROM heimdall.measurement_features WHERE recording_session_id = :id"),
            {"id": key},
        )
        (first, *_), (second, *_), (_, latitude, longitude) = connection.execute(sa.text(query)).all()
        strange = [
            json.dumps({"rx_id": first.upper(), "snr_db": 50, "rssi_dbm": "-60.5", "bandwidth_hz": {"mean": "NaN"}}),
            json.dumps(json.dumps({"station": second, "features": {"power": {"snr_db": {"mean": 52.0}}}})),
            json.dumps({"rx_id": "7", "lat": latitude, "lon": longitude, "snr_db": [53.0, None, 55.0]}),
            json.dumps({"rx_id": "elsewhere", "snr_db": {}}),
            json.dumps(17),
            "null",
        ]
        connection.execute(
            sa.text(set_row + "WHERE recording_session_id = :id"), {"id": key, "receivers": [*strange, None]}
        )
    try:
        features = of_session(replaced, 0)
        shown = heimdall("show", key)
    finally:
        with transaction(replaced.engine) as connection:
            connection.execute(
                sa.text(set_row + "WHERE recording_session_id = :id"),
                {"id": key, "receivers": list(map(json.dumps, before or ()))},
            )
    assert (features["snr_db"]["both"], features["snr_db"]["median_old"]) == (3, 52.0)
    assert (features["rssi_dbm"]["both"], features["rssi_dbm"]["median_old"]) == (1, -60.5)
    assert (features["bandwidth_hz"]["both"], features["bandwidth_hz"]["new_only"]) == (0, 3)
    assert (shown.exit_code, shown.stderr) == (0, ""), shown.exception


def test_without_features_by_other_code_that_is_said(replaced: Replaced, engine: Engine, settings: Settings) -> None:
    result = CliRunner(env={"HEIMDALL_DATABASE_URL": settings.database_url}).invoke(app, ["compare"])
    assert result.exit_code == 0
    assert result.stdout.startswith("No completed session has features that other code wrote")


def test_what_was_computed_by_us_is_not_compared(replaced: Replaced) -> None:
    row = "SELECT to_jsonb(mf) FROM heimdall.measurement_features mf WHERE recording_session_id = :id"
    key = replaced.session_ids[1]
    with transaction(replaced.engine) as connection:
        before = connection.scalar(sa.text(row), {"id": key})
    assert extract_session(replaced.engine, key, replaced.settings, stale=True).computed
    try:
        assert document("compare")["sessions_found"] == 4
    finally:
        with transaction(replaced.engine) as connection:
            restore = """
                UPDATE heimdall.measurement_features SET
                    extraction_metadata = CAST(:metadata AS jsonb), receiver_features = CAST(:receivers AS jsonb[])
                WHERE recording_session_id = :id"""
            parameters = {
                "id": key,
                "metadata": json.dumps(before["extraction_metadata"] if before else {}),
                "receivers": [json.dumps(receiver) for receiver in (before or {})["receiver_features"]],
            }
            connection.execute(sa.text(restore), parameters)
