"""Registering recordings that come as files: whole, once, and wherever they lie."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sigmf  # type: ignore[import-untyped]

from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.sessions import load_session
from heimdall_assets.db.urls import heimdall_url
from heimdall_assets.errors import DatabaseUnavailable, SettingError
from heimdall_assets.extraction import extract_session
from heimdall_assets.extraction.recordings import remarks_on
from heimdall_assets.ingest import Ingested, ingest
from heimdall_assets.iq import open_location
from heimdall_assets_tests.iq.builders import components, kiwi, sigmf_meta, tar, wav
from heimdall_assets_tests.iq.specimens import SPECIMENS, placed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

TABLES = ("websdr_stations", "known_sources", "recording_sessions", "measurements")
START = "2024-03-02T10:20:30+01:00"
STATIONS: dict[str, Any] = {
    "center_frequency_hz": 145_500_000,
    "session_start": START,
    "sample_rate_hz": 10_000,
    "known_source": {
        "name": "beacon",
        "frequency_hz": 145_500_000,
        "latitude": 45.1,
        "longitude": 7.6,
        "power_dbm": 40,
    },
    "receivers": [
        {"name": "Alpe", "file": "a.npy", "latitude": 45.0, "longitude": 7.3, "altitude_asl": 1200.4},
        {"name": "Bric", "file": "b.npy", "latitude": 45.2, "longitude": 7.8},
    ],
}


def noise(seed: int, count: int = 10_000) -> Any:
    return (np.random.default_rng(seed).standard_normal((count, 2)) @ (1, 1j)).astype(np.complex64)


def write_folder(folder: Path, *, seed: int = 1, **changes: Any) -> Path:
    """A session of two receivers; keys that are changed to None are left out."""
    folder.mkdir(parents=True)
    np.save(folder / "a.npy", noise(seed))
    np.save(folder / "b.npy", noise(seed + 100))
    document = {key: value for key, value in {**STATIONS, **changes}.items() if value is not None}
    (folder / "stations.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def counts(factory: SessionFactory) -> list[int]:
    """Rows of every table that an ingest writes."""
    return [factory.scalar(f"SELECT count(*) FROM heimdall.{table}") for table in TABLES]


def files(root: Path) -> set[str]:
    """Everything below a folder that is a file."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def only(results: Any) -> Ingested:
    """The one result."""
    (result,) = results
    assert isinstance(result, Ingested)
    return result


# --- what is registered


def test_a_folder_with_stations_becomes_a_completed_session_with_a_measurement_a_receiver(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in" / "hill")
    result = only(ingest([folder], engine, settings))
    assert result == Ingested(str(folder), result.session_id, is_new=True, num_measurements=2)
    session = factory.rows(
        "SELECT s.session_name, s.session_start, s.session_end, s.duration_seconds, s.status, k.name, k.latitude, "
        "k.longitude, k.frequency_hz, k.power_dbm FROM heimdall.recording_sessions s "
        "JOIN heimdall.known_sources k ON k.id = s.known_source_id WHERE s.id = :id",
        id=result.session_id,
    )
    start = datetime(2024, 3, 2, 9, 20, 30, tzinfo=UTC)
    assert session == [("hill", start, None, 1.0, "completed", "beacon", 45.1, 7.6, 145_500_000, 40.0)]
    measurements = factory.rows(
        "SELECT st.name, st.latitude, st.longitude, st.altitude_asl, m.timestamp, m.frequency_hz, m.iq_data_format, "
        "m.iq_sample_rate, m.iq_samples_count, m.duration_seconds FROM heimdall.measurements m "
        "JOIN heimdall.websdr_stations st ON st.id = m.websdr_station_id WHERE recording_session_id = :id ORDER BY 1",
        id=result.session_id,
    )
    assert measurements == [
        ("Alpe", 45.0, 7.3, 1200, start, 145_500_000, "npy", 10_000, 10_000, 1.0),
        ("Bric", 45.2, 7.8, None, start, 145_500_000, "npy", 10_000, 10_000, 1.0),
    ]
    assert result.session_id is not None
    assert extract_session(engine, result.session_id, settings).summary["receivers"] == "2 of 2"


def test_a_name_in_the_stations_file_is_the_sessions_and_a_naive_start_is_utc(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    only(
        ingest([write_folder(tmp_path / "in", name="ham fest", session_start="2024-03-02T10:20:30")], engine, settings)
    )
    rows = factory.rows("SELECT session_name, session_start FROM heimdall.recording_sessions")
    assert rows == [("ham fest", datetime(2024, 3, 2, 10, 20, 30, tzinfo=UTC))]


def test_a_session_without_start_and_source_takes_the_files_time_and_no_source(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in", session_start=None, known_source=None, center_frequency_hz=None)
    os.utime(folder / "a.npy", (1_700_000_000, 1_700_000_000))
    only(ingest([folder], engine, settings))
    rows = factory.rows("SELECT session_start, known_source_id FROM heimdall.recording_sessions")
    assert rows == [(datetime.fromtimestamp(1_700_000_000, UTC), None)]
    assert factory.rows("SELECT DISTINCT frequency_hz FROM heimdall.measurements") == [(None,)]


def test_a_folder_of_folders_is_a_session_each(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    for number in range(3):
        write_folder(tmp_path / "in" / f"session{number}", seed=number)
    (tmp_path / "in" / "notes").mkdir()
    results = list(ingest([tmp_path / "in"], engine, settings))
    assert [result.path for result in results] == [str(tmp_path / "in" / f"session{number}") for number in range(3)]
    assert len({result.session_id for result in results}) == 3
    assert counts(factory) == [2, 1, 3, 6]  # stations and source are shared


def write_npy(folder: Path) -> Path:
    np.save(folder / "one.npy", noise(1))
    return folder / "one.npy"


def write_cf32(folder: Path) -> Path:
    (folder / "one.cf32").write_bytes(noise(1).tobytes())
    return folder / "one.cf32"


def write_cu8(folder: Path) -> Path:
    (folder / "one.cu8").write_bytes(components(50_000, "u1").tobytes())
    return folder / "one.cu8"


def write_wav(folder: Path) -> Path:
    (folder / "SDR_145500000Hz_IQ.wav").write_bytes(wav(components(50_000, "<i2").tobytes(), rate_hz=48_000))
    return folder / "SDR_145500000Hz_IQ.wav"


def write_kiwi(folder: Path) -> Path:
    path = folder / "20171127T104156Z_77500_HERE_iq.wav"
    path.write_bytes(kiwi(40)[0])
    return path


def write_sigmf(folder: Path) -> Path:
    """A pair as the sigmf package writes it."""
    data = folder / "one.sigmf-data"
    noise(1).tofile(data)
    info = {"core:datatype": "cf32_le", "core:sample_rate": 10_000.0, "core:version": "1.0.0"}
    meta = sigmf.SigMFFile(data_file=str(data), global_info=info)
    meta.add_capture(0, metadata={"core:frequency": 7e6, "core:datetime": "2024-03-02T10:20:30Z"})
    meta.tofile(str(folder / "one.sigmf-meta"))
    return folder / "one.sigmf-meta"


def write_archive(folder: Path) -> Path:
    content = {"x/x.sigmf-meta": sigmf_meta({"core:sample_rate": 10_000.0}), "x/x.sigmf-data": noise(1).tobytes()}
    (folder / "one.sigmf").write_bytes(tar(content))
    return folder / "one.sigmf"


WRITERS = [
    (write_npy, "npy", None, 10_000),
    (write_cf32, "cf32", None, 10_000),
    (write_cu8, "cu8", None, 50_000),
    (write_wav, "wav", 48_000, 50_000),
    (write_kiwi, "kiwi", 12_001, 40 * 512),
    (write_sigmf, "sigmf", 10_000, 10_000),
    (write_archive, "sigmf", 10_000, 10_000),
]


@pytest.mark.parametrize(("write", "format_name", "rate_hz", "num_samples"), WRITERS)
def test_a_single_file_of_any_format_is_a_session_of_one_receiver_that_can_be_extracted(
    engine: Engine,
    factory: SessionFactory,
    settings: Settings,
    tmp_path: Path,
    write: Callable[[Path], Path],
    format_name: str,
    rate_hz: int | None,
    num_samples: int,
) -> None:
    path = write(tmp_path)
    result = only(ingest([path], engine, settings))
    assert (result.is_new, result.num_measurements, result.error) == (True, 1, None)
    assert any("sample rate" in warning for warning in result.warnings) == (rate_hz is None)
    rows = factory.rows(
        "SELECT st.name, st.latitude, m.iq_data_format, m.iq_sample_rate, m.iq_samples_count "
        "FROM heimdall.measurements m JOIN heimdall.websdr_stations st ON st.id = m.websdr_station_id"
    )
    assert rows == [(f"file:{path.stem}", None, format_name, rate_hz, num_samples)]
    assert result.session_id is not None
    outcome = extract_session(engine, result.session_id, settings)
    assert outcome.summary["receivers"] == "1 of 1", outcome.message


STARTS = [
    ("gqrx_20190101_120000_433920000_10000_fc.cf32", "2019-01-01T12:00:00+00:00", 433_920_000, 10_000),
    ("SDRuno_20190101_120000Z_433920kHz.cf32", "2019-01-01T12:00:00+00:00", 433_920_000, None),
    ("g001_433.92M_250k.cf32", None, 433_920_000, 250_000),
    ("baseband_433920000Hz_12-00-00_01-01-2019.cf32", None, 433_920_000, None),
    ("rx.cf32", None, None, None),
]


@pytest.mark.parametrize(("name", "start", "hz", "rate_hz"), STARTS)
def test_start_frequency_and_rate_come_from_the_name_and_what_is_assumed_is_said(
    engine: Engine,
    factory: SessionFactory,
    settings: Settings,
    tmp_path: Path,
    name: str,
    start: str | None,
    hz: int | None,
    rate_hz: int | None,
) -> None:
    path = tmp_path / name
    noise(1, 60_000).tofile(path)
    os.utime(path, (1_700_000_000,) * 2)
    result = only(ingest([path], engine, settings))
    rows = factory.rows(
        "SELECT s.session_start, m.frequency_hz, m.iq_sample_rate FROM heimdall.recording_sessions s "
        "JOIN heimdall.measurements m ON m.recording_session_id = s.id"
    )
    changed = datetime.fromtimestamp(1_700_000_000, UTC)
    assert rows == [(datetime.fromisoformat(start) if start else changed, hz, rate_hz)]
    warnings = " ".join(result.warnings)
    assert ("the start time 2023-11-14 22:13:20 UTC is assumed" in warnings) == (start is None)
    assert ("sample rate" in warnings) == (rate_hz is None)
    assert ("2019-01-01 12:00:00 without a zone" in warnings) == ("12-00-00" in name)
    assert result.session_id is not None
    with transaction(engine) as connection:
        session = load_session(connection, result.session_id, source_tolerance_hz=0.0)
    before = remarks_on(session.measurements[0], settings)
    assert extract_session(engine, result.session_id, settings).has_features
    ((notes,),) = factory.rows("SELECT receiver_features[1]->'notes' FROM heimdall.measurement_features")
    assert tuple(notes["remarks"][: len(before)]) == before
    remarks = " ".join(notes["remarks"])
    assert ("The start time of the session is assumed" in remarks) == (start is None)
    assert ("sample rate of 200000 Hz is assumed" in remarks) == (rate_hz is None)
    assert ("The centre frequency is unknown" in remarks) == (hz is None)


def test_the_format_of_raw_files_can_be_given(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    noise(1).tofile(tmp_path / "rx.bin")
    assert error_of(only(ingest([tmp_path / "rx.bin"], engine, settings)))[0] == "unknown_format"
    assert only(ingest([tmp_path / "rx.bin"], engine, settings, format_name="cf32")).is_new


def test_start_and_frequency_come_from_the_file_that_says_them(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    only(ingest([write_sigmf(tmp_path)], engine, settings))
    rows = factory.rows(
        "SELECT s.session_start, m.frequency_hz FROM heimdall.recording_sessions s "
        "JOIN heimdall.measurements m ON m.recording_session_id = s.id"
    )
    assert rows == [(datetime(2024, 3, 2, 10, 20, 30, tzinfo=UTC), 7_000_000)]


def test_a_stations_file_describes_a_file_that_lies_elsewhere(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in")
    described = (folder / "stations.json").rename(tmp_path / "network.json")
    result = only(ingest([folder / "b.npy"], engine, settings, stations_file=described))
    assert result.num_measurements == 1
    assert factory.rows("SELECT name, latitude FROM heimdall.websdr_stations") == [("Bric", 45.2)]
    assert factory.scalar("SELECT name FROM heimdall.known_sources") == "beacon"


# --- once


@pytest.mark.parametrize("write", [write_npy, write_kiwi, write_sigmf, lambda folder: write_folder(folder / "session")])
def test_repeating_an_ingest_adds_nothing(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    path = write(tmp_path)
    first = only(ingest([path], engine, settings))
    before = counts(factory), files(factory.root)
    again = only(ingest([path], engine, settings))
    assert again == replace(first, is_new=False)
    assert (counts(factory), files(factory.root)) == before


def test_the_same_session_elsewhere_under_other_file_names_is_known_already(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    first = only(ingest([write_folder(tmp_path / "in")], engine, settings))
    before = counts(factory), files(factory.root)
    receivers = [{**entry, "file": f"renamed-{entry['file']}"} for entry in reversed(STATIONS["receivers"])]
    other = write_folder(tmp_path / "copy", receivers=receivers, session_start=None)
    for entry in STATIONS["receivers"]:
        (other / entry["file"]).rename(other / f"renamed-{entry['file']}")
    again = only(ingest([other], engine, settings))
    assert (again.session_id, again.is_new) == (first.session_id, False)
    assert (counts(factory), files(factory.root)) == before


@pytest.mark.parametrize(
    ("write", "suffixes"),
    [(write_npy, [".npy"]), (write_kiwi, [".wav"]), (write_sigmf, [".sigmf-meta", ".sigmf-data"])],
)
def test_the_same_file_elsewhere_under_another_name_is_known_already(
    engine: Engine,
    factory: SessionFactory,
    settings: Settings,
    tmp_path: Path,
    write: Callable[[Path], Path],
    suffixes: list[str],
) -> None:
    path = write(tmp_path)
    first = only(ingest([path], engine, settings))
    before = counts(factory), files(factory.root)
    (tmp_path / "copy").mkdir()
    for suffix in suffixes:
        shutil.copyfile(path.with_suffix(suffix), tmp_path / "copy" / f"renamed{suffix}")
    again = only(ingest([tmp_path / "copy" / f"renamed{suffixes[0]}"], engine, settings))
    assert (again.session_id, again.is_new) == (first.session_id, False)
    assert (counts(factory), files(factory.root)) == before


def test_either_file_of_a_sigmf_pair_names_the_same_session(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    meta = write_sigmf(tmp_path)
    first, second = ingest([meta, meta.with_suffix(".sigmf-data")], engine, settings)
    assert (first.session_id, first.is_new, second.is_new) == (second.session_id, True, False)


def test_other_bytes_or_another_receiver_are_another_session(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    renamed = [{**STATIONS["receivers"][0], "name": "Cima"}, STATIONS["receivers"][1]]
    paths = [
        write_folder(tmp_path / "a"),
        write_folder(tmp_path / "b", seed=2),
        write_folder(tmp_path / "c", receivers=renamed),
    ]
    assert len({result.session_id for result in ingest(paths, engine, settings)}) == 3


# --- where files end up


def test_a_file_inside_the_root_stays_where_it_is(engine: Engine, factory: SessionFactory, settings: Settings) -> None:
    folder = write_folder(factory.root / "2024" / "hill")
    before = files(factory.root)
    only(ingest([folder], engine, settings))
    assert files(factory.root) == before
    assert set(factory.rows("SELECT iq_data_location FROM heimdall.measurements")) == {
        ("2024/hill/a.npy",),
        ("2024/hill/b.npy",),
    }


def test_a_file_outside_the_root_is_copied_whole_with_its_name_and_time(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    path = write_kiwi(tmp_path)
    os.utime(path, ns=(1_600_000_000_000_000_001, 1_511_779_316_123_456_789))
    only(ingest([path], engine, settings))
    location = factory.scalar("SELECT iq_data_location FROM heimdall.measurements")
    copy = factory.root / location
    assert copy.name == path.name
    assert copy.read_bytes() == path.read_bytes()
    assert copy.stat().st_mtime_ns == 1_511_779_316_123_456_789
    assert copy.stat().st_mode & 0o777 == 0o644
    assert files(factory.root) == {location}  # and no half of it beside


def test_both_files_of_a_sigmf_pair_are_copied(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    only(ingest([write_sigmf(tmp_path)], engine, settings))
    assert {name.rpartition("/")[2] for name in files(factory.root)} == {"one.sigmf-meta", "one.sigmf-data"}


def test_a_recording_of_every_format_is_copied_and_read_back_to_the_last_bit(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    by_format = {specimen.name.partition("-")[0]: specimen for specimen in SPECIMENS}
    assert {"npy", "wav", "kiwi", "sigmf", "sigmf.gz", "sigmf.xz", "sigmf.zip", "cf32", "cu8"} <= set(by_format)
    for number, specimen in enumerate(by_format.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        result = only(ingest([Path(placed(specimen, "path", folder))], engine, settings))
        assert (result.is_new, result.error) == (True, None)
        ((location, word),) = factory.rows(
            "SELECT iq_data_location, iq_data_format FROM heimdall.measurements WHERE recording_session_id = :id",
            id=result.session_id,
        )
        with open_location(location, settings, format=word) as recording:
            assert recording.read(0, 1000).tobytes() == specimen.samples[:1000].tobytes()


def test_a_link_in_the_root_that_leads_out_of_it_is_copied_like_any_file_outside(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    (factory.root / "link.npy").symlink_to(write_npy(tmp_path))
    result = only(ingest([factory.root / "link.npy"], engine, settings))
    assert result.session_id is not None
    assert extract_session(engine, result.session_id, settings).has_features


def test_a_root_that_cannot_be_written_to_is_a_setting_error(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    remote = settings.model_copy(update={"iq_root": "https://example.org/iq"})
    with pytest.raises(SettingError, match=r"HEIMDALL_IQ_ROOT=https://example\.org/iq: .* into a folder, s3://, gs://"):
        list(ingest([write_npy(tmp_path)], engine, remote))
    assert counts(factory) == [0, 0, 0, 0]


def test_a_root_that_cannot_be_made_is_a_setting_error(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    path = write_npy(tmp_path)
    with pytest.raises(SettingError, match=r"HEIMDALL_IQ_ROOT=.*one.npy/iq cannot be made: Not a directory"):
        list(ingest([path], engine, settings.model_copy(update={"iq_root": str(path / "iq")})))


# --- what is wrong with a file, and what with a description


def test_a_broken_file_is_registered_with_a_warning_and_fails_when_it_is_extracted(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in")
    whole = (folder / "b.npy").read_bytes()
    (folder / "b.npy").write_bytes(whole[:4000])
    result = only(ingest([folder], engine, settings))
    assert (result.is_new, result.num_measurements, result.error) == (True, 2, None)
    (warning,) = result.warnings
    assert warning.startswith("b.npy: b.npy has 4000 bytes; its header announces")
    assert result.session_id is not None
    outcome = extract_session(engine, result.session_id, settings)
    assert (outcome.summary["receivers"], outcome.summary["reasons"]) == ("1 of 2", "truncated")


def test_an_empty_file_is_registered_with_a_warning(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "empty.npy").touch()
    result = only(ingest([tmp_path / "empty.npy"], engine, settings))
    assert result.warnings[0] == "empty.npy: empty.npy has no bytes"
    assert result.is_new


def error_of(result: Ingested) -> tuple[str, str]:
    """Reason and message of a refusal."""
    assert result.error is not None
    assert (result.session_id, result.is_new) == (None, False)
    return result.error.reason, result.error.message


def test_a_file_that_does_not_exist_is_refused_and_the_others_are_registered(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    missing, there = ingest([tmp_path / "no.npy", write_npy(tmp_path)], engine, settings)
    assert error_of(missing) == ("not_found", f"{tmp_path / 'no.npy'} does not exist")
    assert there.is_new


def test_a_listed_file_that_is_missing_refuses_the_session_and_leaves_nothing_of_it(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in")
    (folder / "b.npy").unlink()
    result = only(ingest([folder], engine, settings))
    assert error_of(result) == ("not_found", f"{folder / 'b.npy'} does not exist")
    assert counts(factory) == [0, 0, 0, 0]
    assert files(factory.root) == set()


def test_a_file_of_no_known_format_refuses_the_session_and_leaves_nothing_of_it(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in")
    (folder / "b.npy").write_text("hello, world\n" * 100)
    reason, message = error_of(only(ingest([folder], engine, settings)))
    assert reason == "unknown_format"
    assert "b.npy is not npy, though the name ends in '.npy'" in message
    assert counts(factory) == [0, 0, 0, 0]
    assert files(factory.root) == set()


def test_a_folder_without_stations_is_refused(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    assert error_of(only(ingest([tmp_path / "bare"], engine, settings))) == (
        "not_found",
        f"{tmp_path / 'bare'} holds no stations.json",
    )


def test_a_stations_file_that_does_not_exist_is_named(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    result = only(ingest([write_npy(tmp_path)], engine, settings, stations_file=tmp_path / "no.json"))
    assert error_of(result) == ("not_found", f"{tmp_path / 'no.json'} does not exist")


def test_a_file_that_the_stations_file_does_not_list_is_refused(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in")
    result = only(ingest([write_npy(tmp_path)], engine, settings, stations_file=folder / "stations.json"))
    assert error_of(result) == ("malformed", f"{folder / 'stations.json'} does not describe one.npy")


def test_a_name_that_is_no_text_is_refused(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.npy")
    write_npy(tmp_path).rename(path)
    reason, message = error_of(only(ingest([path], engine, settings)))
    assert reason == "malformed"
    assert message == f"the name of {str(path)!a} is not UTF-8"
    assert files(factory.root) == set()


def test_a_rate_that_no_column_holds_is_left_out(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    content = {"x/x.sigmf-meta": sigmf_meta({"core:sample_rate": 3e9}), "x/x.sigmf-data": noise(1, 2000).tobytes()}
    (tmp_path / "fast.sigmf").write_bytes(tar(content))
    result = only(ingest([tmp_path / "fast.sigmf"], engine, settings))
    assert result.is_new
    assert factory.rows("SELECT iq_sample_rate, iq_samples_count FROM heimdall.measurements") == [(None, 2000)]


def test_a_copy_that_fails_is_an_error_and_leaves_nothing(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    (factory.root / "ingested").touch()  # a file where the folder of copies would be
    reason, message = error_of(only(ingest([write_npy(tmp_path)], engine, settings)))
    assert reason == "store_unavailable"
    assert "one.npy cannot be copied to" in message
    assert counts(factory) == [0, 0, 0, 0]
    assert files(factory.root) == {"ingested"}


def test_a_database_that_is_away_stops_the_ingest(settings: Settings, tmp_path: Path) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL is not available"):
        list(ingest([write_npy(tmp_path)], open_engine(heimdall_url(nowhere)), nowhere))
