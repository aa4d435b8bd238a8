"""`heimdall plot`, as people and scripts call it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.plots import canvas
from heimdall_assets_tests.dsp.signals import RATE_HZ, noise, qpsk, with_snr

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

MAX_MEMORY_MB = 300
"""Of the whole process that draws a file of 960 MB; most of it is the libraries' own."""


def heimdall(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    np.save(tmp_path / "qpsk.npy", with_snr(qpsk(rng, 50_000, RATE_HZ), 20, rng).astype(np.complex64))
    return tmp_path / "qpsk.npy"


@pytest.mark.parametrize(("name", "magic"), [("a.PNG", b"\x89PNG"), ("b.svg", b"<?xml"), ("c.pdf", b"%PDF")])
def test_the_suffix_says_which_picture_is_written(npy: Path, tmp_path: Path, name: str, magic: bytes) -> None:
    result = heimdall("plot", npy, "-o", tmp_path / name)
    assert (result.exit_code, result.stderr, result.stdout) == (0, "", f"{tmp_path / name}\n")
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_the_numbers_are_those_of_extract(npy: Path, tmp_path: Path) -> None:
    options = ("--sample-rate-hz", RATE_HZ, "--chunk-ms", 50, "--chunks", 3, "--center-frequency-hz", 7e6, "--json")
    drawn = json.loads(heimdall("plot", npy, "-o", tmp_path / "a.png", *options).stdout)
    (extracted,) = json.loads(heimdall("extract", npy, *options).stdout)
    shared = ("file", "format", "sample_rate_hz", "center_frequency_hz", "start_time", "features", "notes")
    assert {key: drawn[key] for key in shared} == {key: extracted[key] for key in shared}
    assert drawn["output"] == str(tmp_path / "a.png")
    assert drawn["analysed_s"] == [0, 0.15]


def test_hints_reach_the_reader_of_a_raw_file(tmp_path: Path) -> None:
    (tmp_path / "capture.bin").write_bytes((noise(np.random.default_rng(1), 20_000)).astype(np.complex64).tobytes())
    options = ("--format", "cf32", "--sample-rate-hz", 1e5, "--start-chunk", 1, "--chunk-ms", 20, "--dark", "--json")
    drawn = json.loads(heimdall("plot", tmp_path / "capture.bin", "-o", tmp_path / "a.png", *options).stdout)
    assert (drawn["format"], drawn["sample_rate_hz"]) == ("cf32", 1e5)
    assert drawn["analysed_s"] == [pytest.approx(0.02), pytest.approx(0.12)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.ones(1000, np.complex64), "the recording has 1000 samples; at least 1024 are needed"),
        (np.zeros(5000, np.complex64), "all 5000 samples are zero"),
        (np.full(5000, np.inf, np.complex64), "sample 0 is"),
    ],
)
def test_a_recording_that_cannot_be_measured_is_one_line_and_exit_1(tmp_path: Path, content: Any, said: str) -> None:
    np.save(tmp_path / "x.npy", content)
    result = heimdall("plot", tmp_path / "x.npy", "-o", tmp_path / "a.png")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"heimdall: {said}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "a.png").exists()


def test_a_missing_file_and_a_chunk_behind_the_end_are_one_line_and_exit_1(npy: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ((tmp_path / "no.npy",), "no.npy does not exist"),
        ((npy, "--start-chunk", 9), "start_chunk=9 is none of the recording's chunks, 0 to 0"),
    ):
        result = heimdall("plot", *arguments, "-o", tmp_path / "a.png")
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        assert said in result.stderr


def test_an_output_that_cannot_be_written_is_one_line_and_exit_1(npy: Path, tmp_path: Path) -> None:
    target = tmp_path / "no such folder" / "a.png"
    result = heimdall("plot", npy, "-o", target, "--json")
    assert result.exit_code == 1
    assert result.stderr == f"heimdall: {target} cannot be written: No such file or directory\n"
    assert json.loads(result.stdout)["error"]["reason"] == "output_failed"


@pytest.mark.parametrize("name", ["a.bmp", "a", "a.png.gz"])
def test_an_unknown_suffix_is_exit_2_before_anything_is_read(tmp_path: Path, name: str) -> None:
    result = heimdall("plot", tmp_path / "missing.npy", "-o", tmp_path / name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.replace("\n", " ").startswith("heimdall: --output ")
    assert "it must end in .png, .svg, .pdf" in result.stderr


@pytest.mark.parametrize(
    "options", [("--start-chunk", "-1"), ("--chunks", "0"), ("--chunk-ms", "0"), ("--sample-rate-hz", "x")]
)
def test_bad_usage_is_exit_2(npy: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    result = heimdall("plot", npy, "-o", tmp_path / "a.png", *options)
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_plot_without_an_output_is_exit_2(npy: Path) -> None:
    assert heimdall("plot", npy).exit_code == 2


def test_a_command_that_draws_nothing_does_not_import_matplotlib(npy: Path) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from heimdall_assets.cli.app import app\n"
        "import heimdall_assets.plots.view, heimdall_assets.plots.caption\n"
        f"result = CliRunner().invoke(app, ['extract', {str(npy)!r}, '--json'])\n"
        "assert result.exit_code == 0, result.output\n"
        "sys.exit('matplotlib' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_a_file_of_960_megabytes_is_drawn_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.cf32"
    rng = np.random.default_rng(7)
    path.write_bytes(with_snr(qpsk(rng, 200_000, RATE_HZ), 20, rng).astype(np.complex64).tobytes())
    with path.open("r+b") as file:
        file.truncate(960_000_000)  # the rest is a hole: zeros that take no space
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "sys.modules['numba'] = None\n"  # to compile, once an installation, takes as much again
        "from heimdall_assets.cli.app import app\n"
        f"app(['plot', {str(path)!r}, '-o', {str(tmp_path / 'a.png')!r}], standalone_mode=False)\n"
        # not getrusage: its figure begins with that of the process that started this one
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.partition('VmHWM:')[2].split()[0]) // 1024)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout.split()[-1]) < MAX_MEMORY_MB
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_of_the_canvas_is_a_png_of_120_dots_an_inch() -> None:
    content = canvas.png(canvas.sheet(2, 1))
    assert int.from_bytes(content[16:20], "big") == 240
    assert int.from_bytes(content[20:24], "big") == 120
