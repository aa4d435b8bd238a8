"""`heimdall extract` and `heimdall ingest`, as people and scripts call them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.dsp import FEATURES
from heimdall_assets_tests.iq.builders import auxi, components, fmt, riff, wav

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from heimdall_assets_tests.factory import SessionFactory
    from heimdall_assets_tests.object_store import ObjectStore

EXTRACTED = [
    "file",
    "format",
    "sample_rate_hz",
    "center_frequency_hz",
    "start_time",
    "num_samples",
    "num_chunks",
    "features",
    "notes",
]
RATE_HZ = 10_000


def heimdall(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def tone(frequency_hz: float = 1234.5, count: int = 10_500) -> Any:
    """A tone of half full scale in noise, 20 dB below."""
    time_s = np.arange(count) / RATE_HZ
    noise = np.random.default_rng(3).standard_normal((count, 2)) @ (1, 1j) * 0.05 / np.sqrt(2)
    return (0.5 * np.exp(2j * np.pi * frequency_hz * time_s) + noise).astype(np.complex64)


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    np.save(tmp_path / "tone.npy", tone())
    return tmp_path / "tone.npy"


def extracted(result: Result) -> dict[str, Any]:
    """The one document of a successful extraction."""
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (document,) = json.loads(result.stdout)
    return dict(document)


def refused(result: Result) -> dict[str, str]:
    """The error of the one file; also checks what is printed about it."""
    assert result.exit_code == 1
    (document,) = json.loads(result.stdout)
    assert set(document) == {"file", "error"}
    assert set(document["error"]) == {"reason", "message"}
    assert result.stderr == f"heimdall: {document['file']}: {document['error']['message']}\n"
    return dict(document["error"])


# --- extract


def test_extract_prints_the_documented_object_for_a_npy(npy: Path) -> None:
    document = extracted(heimdall("extract", npy, "--sample-rate-hz", RATE_HZ, "--json"))
    assert list(document) == EXTRACTED
    assert document["file"] == str(npy)
    assert (document["format"], document["sample_rate_hz"]) == ("npy", 10_000.0)
    assert (document["center_frequency_hz"], document["start_time"]) == (None, None)
    assert (document["num_samples"], document["num_chunks"]) == (10_500, 5)
    assert list(document["features"]) == [feature.name for feature in FEATURES]
    assert all(list(aggregate) == ["mean", "std", "min", "max"] for aggregate in document["features"].values())
    assert document["features"]["frequency_offset_hz"]["mean"] == pytest.approx(1234.5, abs=0.05)
    assert document["features"]["snr_db"]["mean"] == pytest.approx(20, abs=0.3)
    assert document["notes"]["num_chunks"] == 5


def test_extract_reads_urls_like_files(npy: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(npy, "session/tone.npy")
    by_path = extracted(heimdall("extract", npy, "--sample-rate-hz", RATE_HZ, "--json"))
    for url in (f"file://{npy}", f"zip://session/tone.npy::{tmp_path / 'all.zip'}"):
        by_url = extracted(heimdall("extract", url, "--sample-rate-hz", RATE_HZ, "--json"))
        assert by_url == {**by_path, "file": url}
    error = refused(heimdall("extract", f"zip://gone.npy::{tmp_path / 'all.zip'}", "--json"))
    assert error == {"reason": "not_found", "message": "all.zip has no member 'gone.npy'"}


def test_extract_reads_raw_floats_by_suffix_and_takes_rate_and_frequency_from_the_options(tmp_path: Path) -> None:
    path = tmp_path / "tone.cf32"
    path.write_bytes(tone().tobytes())
    options = ("--sample-rate-hz", RATE_HZ, "--center-frequency-hz", 7e6, "--json")
    document = extracted(heimdall("extract", path, *options))
    assert (document["format"], document["sample_rate_hz"], document["center_frequency_hz"]) == ("cf32", 10_000.0, 7e6)
    assert document["features"]["rssi_dbm"]["mean"] == pytest.approx(30 - 5.98, abs=0.05)  # 0.25 + 0.0025


def test_extract_reads_bytes_of_an_rtl_sdr_under_any_name_if_the_format_is_given(tmp_path: Path) -> None:
    path = tmp_path / "capture.bin"
    path.write_bytes(components(200_000, "u1").tobytes())
    document = extracted(heimdall("extract", path, "--format", "cu8", "--json"))
    assert (document["format"], document["num_samples"], document["num_chunks"]) == ("cu8", 200_000, 5)
    assert document["sample_rate_hz"] == 200_000.0  # the default
    # uniform over the bytes: variance 2 x (2 x 127.5)^2 / 12 / 127.5^2
    assert document["features"]["rssi_dbm"]["mean"] == pytest.approx(30 + 10 * np.log10(2 / 3), abs=0.1)


def test_extract_reads_rate_frequency_and_time_from_a_wav_header(tmp_path: Path) -> None:
    path = tmp_path / "sdr.wav"
    values = components(60_000, "<i2").tobytes()
    path.write_bytes(riff((b"fmt ", fmt(rate_hz=48_000)), (b"auxi", auxi()), (b"data", values)))
    document = extracted(heimdall("extract", path, "--sample-rate-hz", 5, "--json"))
    assert (document["format"], document["sample_rate_hz"]) == ("wav", 48_000)
    assert document["center_frequency_hz"] == 145_500_000
    assert document["start_time"].startswith("2024-03-05T12:34:56.789")


@pytest.mark.parametrize(
    ("options", "chunks", "length"),
    [
        ((), 5, 2000),
        (("--chunks", 2), 2, 2000),
        (("--chunks", "all"), 5, 2000),
        (("--chunks", "all", "--chunk-ms", 110), 9, 1100),
        (("--chunks", 100), 5, 2000),
        (("--chunk-ms", 5000), 1, 10_500),
    ],
)
def test_extract_measures_as_many_chunks_of_that_length_as_are_asked_for_and_there(
    npy: Path, options: tuple[object, ...], chunks: int, length: int
) -> None:
    document = extracted(heimdall("extract", npy, "--sample-rate-hz", RATE_HZ, *options, "--json"))
    assert document["num_chunks"] == chunks
    assert (document["notes"]["num_chunks"], document["notes"]["chunk_length"]) == (chunks, length)


def test_the_environment_sets_the_chunks_unless_an_option_does(npy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_NUM_CHUNKS", "3")
    monkeypatch.setenv("HEIMDALL_CHUNK_MS", "120")
    monkeypatch.setenv("HEIMDALL_DEFAULT_SAMPLE_RATE_HZ", str(RATE_HZ))
    document = extracted(heimdall("extract", npy, "--json"))
    assert (document["num_chunks"], document["notes"]["chunk_length"]) == (3, 1200)
    document = extracted(heimdall("extract", npy, "--chunk-ms", 200, "--chunks", 4, "--json"))
    assert (document["num_chunks"], document["notes"]["chunk_length"]) == (4, 2000)


def test_extract_of_several_files_lists_them_in_order_and_fails_if_any_failed(npy: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.npy"
    result = heimdall("extract", npy, missing, npy, "--sample-rate-hz", RATE_HZ, "--json")
    assert result.exit_code == 1
    first, second, third = json.loads(result.stdout)
    assert first == third
    assert second == {"file": str(missing), "error": {"reason": "not_found", "message": f"{missing} does not exist"}}
    assert result.stderr == f"heimdall: {missing}: {missing} does not exist\n"


def test_a_truncated_npy_is_one_line_an_error_object_and_exit_1(npy: Path) -> None:
    npy.write_bytes(npy.read_bytes()[:40_000])
    error = refused(heimdall("extract", npy, "--json"))
    assert error["reason"] == "truncated"
    assert error["message"].startswith("tone.npy has 40000 bytes; its header announces 84128")


def test_a_truncated_wav_is_one_line_an_error_object_and_exit_1(tmp_path: Path) -> None:
    whole = wav(components(5000, "<i2").tobytes())
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    assert refused(heimdall("extract", tmp_path / "cut.wav", "--json"))["reason"] == "truncated"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (components(1023, "u1").tobytes(), "too_short"),
        (b"", "empty_recording"),
    ],
)
def test_bytes_that_are_too_few_or_odd_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.cu8").write_bytes(content)
    assert refused(heimdall("extract", tmp_path / "x.cu8", "--json"))["reason"] == reason


@pytest.mark.parametrize("word", ["npy", "kiwi", "wav", "sigmf", "cf32", "cs16", "cs8", "cu8"])
@pytest.mark.parametrize("command", ["extract", "ingest"])
def test_every_format_of_the_registry_can_be_given(tmp_path: Path, environment: Path, command: str, word: str) -> None:
    (tmp_path / "x.bin").write_bytes(tone().tobytes())
    result = heimdall(command, "--format", word, "--json", tmp_path / "x.bin")
    is_raw = word.startswith("c")
    assert result.exit_code == (0 if is_raw else 1), result.output
    (document,) = json.loads(result.stdout)
    assert is_raw or document["error"]["reason"] == "unknown_format"
    assert heimdall(command, "--format", "mp3", tmp_path / "x.bin").exit_code == 2


def test_what_is_assumed_is_said_in_remarks_and_to_people_on_standard_error(tmp_path: Path) -> None:
    (tmp_path / "x.cf32").write_bytes(tone().tobytes() + b"abc")
    assumed = [
        "The last 3 bytes are ignored: a sample has 8.",
        "The centre frequency is unknown: neither header nor name states it.",
        "The sample rate of 200000 Hz is assumed: neither header, measurement nor name states one.",
    ]
    assert extracted(heimdall("extract", "--json", tmp_path / "x.cf32"))["notes"]["remarks"][:3] == assumed
    result = heimdall("extract", tmp_path / "x.cf32")
    assert result.stderr.splitlines() == [f"warning: {tmp_path / 'x.cf32'}: {remark}" for remark in assumed]
    options = ("--json", "--sample-rate-hz", RATE_HZ, "--center-frequency-hz", 1e8)
    stated = extracted(heimdall("extract", *options, tmp_path / "x.cf32"))["notes"]["remarks"]
    assert not any("assumed" in remark or "unknown" in remark for remark in stated)


def test_names_of_recorders_need_no_options(tmp_path: Path) -> None:
    (tmp_path / "gqrx_20190101_120000_433920000_10000_fc.raw").write_bytes(tone().tobytes())
    document = extracted(heimdall("extract", "--json", tmp_path / "gqrx_20190101_120000_433920000_10000_fc.raw"))
    assert (document["format"], document["sample_rate_hz"]) == ("cf32", RATE_HZ)
    assert document["center_frequency_hz"] == 433.92e6
    assert document["start_time"].startswith("2019-01-01T12:00:00")
    assert document["features"]["frequency_offset_hz"]["mean"] == pytest.approx(1234.5, abs=0.05)


def test_only_the_first_capture_of_a_sigmf_recording_that_is_tuned_elsewhere_is_measured(tmp_path: Path) -> None:
    captures = [
        {"core:sample_start": 0, "core:frequency": 1e8},
        {"core:sample_start": 4500, "core:frequency": 2e8},
    ]
    whole = {"core:datatype": "cf32_le", "core:sample_rate": RATE_HZ, "core:version": "1.2.0"}
    for start, chunks in ((4500, 2), (1000, 5), (10_400, 5)):
        captures[1]["core:sample_start"] = start
        meta = {"global": whole, "captures": captures, "annotations": []}
        (tmp_path / "x.sigmf-meta").write_text("\ufeff" + json.dumps(meta))
        (tmp_path / "x.sigmf-data").write_bytes(np.r_[tone()[:start], tone(-3000)[start:]].tobytes())
        document = extracted(heimdall("extract", "--json", tmp_path / "x.sigmf-meta"))
        assert (document["num_chunks"], document["notes"]["num_chunks"]) == (chunks, chunks)
        said = [remark for remark in document["notes"]["remarks"] if "tuned elsewhere" in remark]
        assert len(said) == (start < 10_000)
        if start != 1000:
            assert document["features"]["frequency_offset_hz"]["mean"] == pytest.approx(1234.5, abs=0.05)


@pytest.mark.parametrize("stated", [36 + 6_000_000_000 % 2**32, 2**32 - 1, 0x7FFFF000])
def test_a_wav_beyond_4_gib_is_measured(tmp_path: Path, stated: int) -> None:
    values = np.round(tone().view("<f4") * 32767).astype("<i2").tobytes()
    with (tmp_path / "SDRSharp_20190101_120000Z_433920000Hz_IQ.wav").open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", stated) + b"WAVEfmt " + struct.pack("<I", 16) + fmt(rate_hz=RATE_HZ))
        file.write(b"data" + struct.pack("<I", max(0, stated - 36)) + values)
        file.truncate(44 + 6_000_000_000)
    document = extracted(heimdall("extract", "--json", tmp_path / "SDRSharp_20190101_120000Z_433920000Hz_IQ.wav"))
    assert (document["num_samples"], document["num_chunks"]) == (1_500_000_000, 5)
    assert document["features"]["frequency_offset_hz"]["mean"] == pytest.approx(1234.5, abs=0.05)


def test_1024_samples_are_enough(tmp_path: Path) -> None:
    (tmp_path / "x.cu8").write_bytes(components(1024, "u1").tobytes())
    assert extracted(heimdall("extract", tmp_path / "x.cu8", "--json"))["num_chunks"] == 1


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.mkdir(), "location_refused"),
        (lambda path: path.write_text("hello, world\n" * 100), "unknown_format"),
        (lambda path: np.save(path, np.zeros(5000, np.complex64)), "all_zero"),
        (lambda path: np.save(path, np.full(5000, np.nan, np.complex64)), "not_finite"),
        (lambda path: np.save(path, np.zeros((3, 3, 3))), "malformed"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_with_its_reason(tmp_path: Path, write: Any, reason: str) -> None:
    write(tmp_path / "x.npy")
    assert refused(heimdall("extract", tmp_path / "x.npy", "--json"))["reason"] == reason


def test_a_file_above_the_limit_is_refused(npy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_MAX_OBJECT_BYTES", "2000")
    assert refused(heimdall("extract", npy, "--json"))["reason"] == "too_large"


def test_extract_for_people_prints_a_line_a_feature(npy: Path) -> None:
    result = heimdall("extract", npy, "--sample-rate-hz", RATE_HZ)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{npy}  npy, 10000 Hz, 10500 samples, 5 chunks"
    assert [line.split()[0] for line in lines[1:]] == [feature.name for feature in FEATURES]
    assert "  multipath_delay_spread_us    mean -  std -  min -  max -" in lines


def test_extract_for_people_prints_errors_on_standard_error_alone(tmp_path: Path) -> None:
    result = heimdall("extract", tmp_path / "missing.npy")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"heimdall: {tmp_path / 'missing.npy'}: {tmp_path / 'missing.npy'} does not exist\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--no-such-option",), "No such option: --no-such-option"),
        (("--format", "mp3"), "'mp3' is not one of"),
        (("--chunks", "0"), "--chunks '0' is not allowed: a positive number, or all"),
        (("--chunks", "-1"), "--chunks '-1' is not allowed"),
        (("--chunks", "some"), "--chunks 'some' is not allowed"),
        (("--chunk-ms", "0"), "Invalid value for '--chunk-ms'"),
        (("--chunk-ms", "nan"), "Invalid value for '--chunk-ms'"),
        (("--chunk-ms", "inf"), "Invalid value for '--chunk-ms'"),
        (("--sample-rate-hz", "0"), "Invalid value for '--sample-rate-hz'"),
        (("--sample-rate-hz", "-5"), "Invalid value for '--sample-rate-hz'"),
        (("--sample-rate-hz", "inf"), "Invalid value for '--sample-rate-hz'"),
        (("--sample-rate-hz", "fast"), "Invalid value for '--sample-rate-hz'"),
        (("--center-frequency-hz", "0"), "Invalid value for '--center-frequency-hz'"),
        (("--center-frequency-hz", "inf"), "Invalid value for '--center-frequency-hz'"),
    ],
)
def test_bad_usage_of_extract_is_exit_2_and_says_what_is_wrong(npy: Path, options: tuple[str, ...], said: str) -> None:
    result = heimdall("extract", npy, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.replace("│", " ").split())  # the message stands in a box
    assert "Traceback" not in result.stderr


def test_extract_without_a_file_is_exit_2() -> None:
    result = heimdall("extract")
    assert result.exit_code == 2
    assert "Missing argument" in result.stderr


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HEIMDALL_CHUNK_MS", "abc", "HEIMDALL_CHUNK_MS='abc' is not allowed: Input should be a valid number"),
        (
            "HEIMDALL_NUM_CHUNKS",
            "0",
            "HEIMDALL_NUM_CHUNKS='0' is not allowed: Input should be greater than or equal to 1",
        ),
        ("HEIMDALL_DATABASE_URL", "mysql://u:secret@h/d", "HEIMDALL_DATABASE_URL='mysql://u:***@h/d' is not allowed"),
    ],
)
def test_a_bad_setting_is_exit_2_with_the_variable_its_value_and_what_is_allowed(
    npy: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    result = heimdall("extract", npy)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"heimdall: {said}")
    assert result.stderr.count("\n") == 1
    as_json = heimdall("extract", npy, "--json")
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout)["error"]["reason"] == "bad_setting"


def test_the_real_command_prints_nothing_but_the_document_and_ends_with_1_if_a_file_failed(
    npy: Path, tmp_path: Path
) -> None:
    (tmp_path / "short.cu8").write_bytes(struct.pack("100B", *range(100)))
    code = "from heimdall_assets.cli import main; main()"
    command = [sys.executable, "-c", code, "extract", str(npy), str(tmp_path / "short.cu8"), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    good, bad = json.loads(ended.stdout)
    assert set(good) == set(EXTRACTED)
    assert bad["error"]["reason"] == "too_short"
    assert ended.stderr == f"heimdall: {tmp_path / 'short.cu8'}: {bad['error']['message']}\n"


# --- ingest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hill"
    folder.mkdir()
    np.save(folder / "a.npy", tone())
    np.save(folder / "b.npy", tone(-500.0))
    receivers = [{"name": "A", "file": "a.npy", "latitude": 45, "longitude": 7}, {"name": "B", "file": "b.npy"}]
    facts = {"sample_rate_hz": RATE_HZ, "center_frequency_hz": 1e8, "session_start": "2024-03-02T10:20:30Z"}
    (folder / "stations.json").write_text(json.dumps({"receivers": receivers, **facts}))
    return folder


def test_ingest_says_new_and_then_known_already(folder: Path, environment: Path, factory: SessionFactory) -> None:
    result = heimdall("ingest", folder)
    assert (result.exit_code, result.stderr) == (0, "")
    session_id = factory.scalar("SELECT id FROM heimdall.recording_sessions")
    assert result.stdout == f"{session_id}  new, 2 receivers  {folder}\n"
    assert heimdall("ingest", folder).stdout == f"{session_id}  known already, 2 receivers  {folder}\n"


def test_ingest_names_every_correction_and_refuses_to_move_a_station_unasked(
    folder: Path, environment: Path, factory: SessionFactory
) -> None:
    session_id = extracted(heimdall("ingest", folder, "--json"))["session_id"]
    text = (folder / "stations.json").read_text()
    (folder / "stations.json").write_text(
        text.replace(f'_rate_hz": {RATE_HZ}', '_rate_hz": 9000').replace('"latitude": 45', '"latitude": 46')
    )
    refused_move = heimdall("ingest", folder)
    said = 'receiver "A" stands at 45 N 7 E, not at 46 N 7 E: --correct-stations changes what is stored'
    assert (refused_move.exit_code, refused_move.stdout) == (1, "")
    assert refused_move.stderr == f"heimdall: {folder}: {said}\n"
    assert set(factory.rows("SELECT iq_sample_rate FROM heimdall.measurements")) == {(RATE_HZ,)}
    result = heimdall("ingest", folder, "--correct-stations")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{session_id}  corrected, 2 receivers  {folder}",
        "  A: latitude 45.0 -> 46.0",
        f"  A: sample_rate_hz {RATE_HZ} -> 9000",
        f"  B: sample_rate_hz {RATE_HZ} -> 9000",
    ]
    (folder / "stations.json").write_text(text)
    document = extracted(heimdall("ingest", folder, "--correct-stations", "--json"))
    assert document["corrections"] == [
        {"receiver": "A", "field": "latitude", "before": 46.0, "after": 45.0},
        {"receiver": "A", "field": "sample_rate_hz", "before": 9000, "after": RATE_HZ},
        {"receiver": "B", "field": "sample_rate_hz", "before": 9000, "after": RATE_HZ},
    ]
    assert (document["is_new"], document["sessions_stale"]) == (False, 0)


def test_show_says_what_is_assumed_before_anything_is_computed(
    environment: Path, factory: SessionFactory, tmp_path: Path
) -> None:
    (tmp_path / "x.cf32").write_bytes(tone().tobytes())
    result = heimdall("ingest", "--json", tmp_path / "x.cf32")
    (registered,) = json.loads(result.stdout)
    assert result.exit_code == 0
    assert any("sample rate" in warning and "assumed" in warning for warning in registered["warnings"])
    assert any("start time" in warning and "assumed" in warning for warning in registered["warnings"])
    (receiver,) = json.loads(heimdall("show", "--json", registered["session_id"]).stdout)["receivers"]
    said = [
        "The centre frequency is unknown: neither header nor name states it.",
        "The sample rate of 200000 Hz is assumed: neither header, measurement nor name states one.",
        "The start time of the session is assumed: it is the time of this file's last change.",
    ]
    assert receiver["notes"]["remarks"] == said
    shown = heimdall("show", registered["session_id"]).stdout.splitlines()
    assert [f"remark  file:x: {remark}" for remark in said] == shown[-3:]


def test_ingest_prints_one_json_document_and_exit_1_if_a_path_was_refused(
    folder: Path, environment: Path, factory: SessionFactory, tmp_path: Path
) -> None:
    (folder / "b.npy").write_bytes((folder / "b.npy").read_bytes()[:999])
    result = heimdall("ingest", tmp_path / "nothing", folder, "--json")
    assert result.exit_code == 1
    refusal, registered = json.loads(result.stdout)
    message = f"{tmp_path / 'nothing'} does not exist"
    assert refusal == {
        "path": str(tmp_path / "nothing"),
        "is_new": False,
        "warnings": [],
        "error": {"reason": "not_found", "message": message},
    }
    session_id = str(factory.scalar("SELECT id FROM heimdall.recording_sessions"))
    assert {key: registered[key] for key in ("path", "session_id", "is_new", "num_measurements")} == {
        "path": str(folder),
        "session_id": session_id,
        "is_new": True,
        "num_measurements": 2,
    }
    assert registered["warnings"][0].startswith("b.npy: b.npy has 999 bytes")


def test_ingest_for_people_prints_warnings_and_errors_on_standard_error(
    folder: Path, environment: Path, tmp_path: Path
) -> None:
    (folder / "b.npy").write_bytes(b"")
    result = heimdall("ingest", tmp_path / "nothing", folder)
    assert result.exit_code == 1
    assert result.stdout.endswith(f"  new, 2 receivers  {folder}\n")
    assert result.stderr.splitlines() == [
        f"heimdall: {tmp_path / 'nothing'}: {tmp_path / 'nothing'} does not exist",
        "warning: b.npy: b.npy has no bytes",
    ]


def test_ingest_takes_a_stations_file_for_single_files(
    folder: Path, environment: Path, factory: SessionFactory
) -> None:
    result = heimdall("ingest", folder / "a.npy", "--stations", folder / "stations.json", "--json")
    assert result.exit_code == 0
    assert factory.rows("SELECT name, latitude FROM heimdall.websdr_stations") == [("A", 45.0)]


def test_ingest_into_a_web_server_is_a_bad_setting(
    folder: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIMDALL_IQ_ROOT", "https://example.org/iq")
    result = heimdall("ingest", folder)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("heimdall: HEIMDALL_IQ_ROOT=https://example.org/iq: recordings can be ingested")


def test_ingest_extract_and_plot_take_urls_of_an_object_store(
    folder: Path, npy: Path, environment: Path, factory: SessionFactory, object_store: ObjectStore, tmp_path: Path
) -> None:
    object_store.make_bucket("cli")
    object_store.upload("cli", folder, "hill/")
    result = heimdall("ingest", "s3://cli/hill/")
    assert (result.exit_code, result.stderr) == (0, "")
    session_id = factory.scalar("SELECT id FROM heimdall.recording_sessions")
    assert result.stdout == f"{session_id}  new, 2 receivers  s3://cli/hill\n"
    assert heimdall("ingest", folder).stdout == f"{session_id}  known already, 2 receivers  {folder}\n"
    object_store.upload("cli", npy.parent, "one/")
    there, here = (extracted(heimdall("extract", place, "--json")) for place in (f"s3://cli/one/{npy.name}", npy))
    assert {**there, "file": None} == {**here, "file": None}
    result = heimdall("plot", f"s3://cli/one/{npy.name}", "-o", tmp_path / "a.png")
    assert (result.exit_code, (tmp_path / "a.png").read_bytes()[:4]) == (0, b"\x89PNG")
    said = refused(heimdall("extract", "s3://cli/gone.npy", "--json"))
    assert said == {"reason": "not_found", "message": "s3://cli/gone.npy does not exist"}
