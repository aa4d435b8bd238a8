"""A receiver's response: the file that it is read from, what is kept of it, and what it makes stale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from heimdall_assets.cli.response import MAX_BYTES, MAX_POINTS, read_response
from heimdall_assets.errors import SettingError
from heimdall_assets.extraction import extract_session
from heimdall_assets_tests.cli.test_receivers import document, heimdall
from heimdall_assets_tests.factory import GOOD

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

HEADER = "offset_hz,response_db\n"
DROOP = "# sweep of 2026-01-31\n\noffset_hz, response_db\n4000,-3.2\n-4000,-3\n\n0,0  # the centre\n"
PAIRS = [[-4000.0, -3.0], [0.0, 0.0], [4000.0, -3.2]]


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "droop.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SettingError) as refused:
        read_response(path)
    assert refused.value.message.startswith(f"--response {path}: ")
    return refused.value.message.removeprefix(f"--response {path}: ")


def test_comments_blank_lines_and_any_order_are_read(tmp_path: Path) -> None:
    assert [list(pair) for pair in read_response(written(tmp_path, DROOP))] == PAIRS
    mark = b"\xef\xbb\xbf" + DROOP.replace("\n", "\r\n").upper().encode()
    assert [list(pair) for pair in read_response(written(tmp_path, mark))] == PAIRS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "line 1: '' is not the header offset_hz,response_db"),
        ("# nothing\n", "line 1: '' is not the header"),
        ("0,0\n1,1\n", "line 1: '0,0' is not the header offset_hz,response_db"),
        ("\noffset_hz;response_db\n", "line 2: 'offset_hz;response_db' is not the header"),
        ("response_db,offset_hz\n0,0\n1,1\n", "line 1: 'response_db,offset_hz' is not the header"),
        (HEADER, "0 rows below the header are not allowed: 2 to 512"),
        (HEADER + "0,0\n", "1 rows below the header are not allowed: 2 to 512"),
        (HEADER + "".join(f"{i},0\n" for i in range(MAX_POINTS + 1)), "513 rows below the header are not allowed"),
        (HEADER + "0,0\n1000\n", "line 3: '1000' is not an offset and a response"),
        (HEADER + "0,0\n1000,-1,5\n", "line 3: '1000,-1,5' is not an offset and a response"),
        (HEADER + "0,0\n1 kHz,-1\n", "line 3: offset_hz='1 kHz' is not allowed: -1e+09 to 1e+09"),
        (HEADER + "0,0\n1_000,-1\n", "line 3: offset_hz='1_000' is not allowed"),
        (HEADER + "0,0\n1000,\n", "line 3: response_db='' is not allowed: -150 to 150"),
        (HEADER + "0,nan\n1000,0\n", "line 2: response_db='nan' is not allowed"),
        (HEADER + "-inf,0\n1000,0\n", "line 2: offset_hz='-inf' is not allowed"),
        (HEADER + "0,0\n1000,-151\n", "line 3: response_db='-151' is not allowed"),
        (HEADER + "0,0\n2e9,0\n", "line 3: offset_hz='2e9' is not allowed"),
        (HEADER + "5,0\n\n1,2\n5.0,1\n", "line 5: offset_hz=5.0 stands in line 2 already"),
        (HEADER + "0,\0\x1b[31m\n1,1\n", r"line 2: response_db='\x00\x1b[31m' is not allowed"),
        (HEADER + f"0,{'9' * 300}\n1,1\n", f"line 2: response_db='{'9' * 60}...' is not allowed"),
        (HEADER.encode("utf-16"), "it is not text in UTF-8: byte 0 is 0xff"),
        (b"#" * (MAX_BYTES + 1), f"it has more than {MAX_BYTES} bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_with_the_line_and_the_value(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    assert refusal(written(tmp_path, content)).startswith(said)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.csv") == "it cannot be read: No such file or directory"
    assert refusal(tmp_path) == "it cannot be read: Is a directory"
    assert "it cannot be read: File name too long" in refusal(tmp_path / ("x" * 300))


@examples(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60)
    | st.text('0123456789.,-e#\n"_ nainf\0', max_size=80).map(lambda t: (HEADER + t).encode())
)
def test_any_bytes_are_pairs_by_rising_offset_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    said, offsets = outcome_of(path)
    assert said.isascii()
    assert "\n" not in said
    assert offsets == sorted(set(offsets))


def outcome_of(path: Path) -> tuple[str, list[float]]:
    try:
        return "", [offset_hz for offset_hz, _ in read_response(path)]
    except SettingError as error:
        return str(error), []


@pytest.mark.usefixtures("environment")
def test_a_response_is_kept_shown_noted_and_taken_back(
    factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    key = factory.add((GOOD, GOOD))
    extract_session(factory.engine, key, settings)
    path = written(tmp_path, DROOP)
    result = heimdall("receivers", "set", "RX1", "--from", "beginning", "--response", path)
    assert result.stdout.splitlines() == [
        "RX1 since beginning: calibration_db 30, passband_hz -, remove_dc no, response 3 points, -3.2 .. 0 dB",
        "1 sessions became stale: `heimdall backfill --stale` computes them again",
    ]
    assert [item["response"] for item in document("receivers", "list")] == [PAIRS, None]
    assert "3 points, -3.2 .. 0 dB" in heimdall("receivers", "list").stdout
    again = document("receivers", "set", "RX1", "--from", "beginning", "--response", path)
    assert (again["changed"], again["response"]) == (False, PAIRS)
    extract_session(factory.engine, key, settings, stale=True)
    noted = "SELECT extraction_metadata -> 'receivers' -> :name -> 'response' FROM heimdall.measurement_features"
    assert [factory.scalar(noted, name=name) for name in ("RX1", "RX2")] == [PAIRS, None]
    assert document("show", key)["stale"] is False
    other = document("receivers", "set", "RX1", "--from", "beginning", "--calibration-db", "5")
    assert (other["response"], other["sessions_stale"]) == (PAIRS, 1)
    gone = document("receivers", "set", "RX1", "--from", "beginning", "--no-response", "--calibration-db", "30")
    assert (gone["response"], gone["changed"]) == (None, True)
    back = document("receivers", "set", "RX1", "--from", "beginning", "--response", path)
    assert back["sessions_current"] == 1
    removed = document("receivers", "remove", "RX1", "--from", "beginning")
    assert (removed["response"], removed["sessions_stale"]) == (None, 1)


@pytest.mark.usefixtures("environment")
def test_a_response_and_none_contradict_each_other(factory: SessionFactory, tmp_path: Path) -> None:
    factory.add((GOOD,))
    result = heimdall("receivers", "set", "RX1", "--response", written(tmp_path, DROOP), "--no-response")
    assert (result.exit_code, result.stderr) == (2, "heimdall: --response and --no-response contradict each other\n")
    result = heimdall("receivers", "set", "RX1", "--response", written(tmp_path, HEADER + "1,1\n2,x\n"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "droop.csv: line 3: response_db='x' is not allowed: -150 to 150" in result.stderr
