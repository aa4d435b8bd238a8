"""`heimdall receivers`: what people see, set and are told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from heimdall_assets.cli.app import app
from heimdall_assets.extraction import extract_session
from heimdall_assets_tests.factory import GOOD, MISSING

if TYPE_CHECKING:
    from typer.testing import Result

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

pytestmark = pytest.mark.usefixtures("environment")

DEFAULTS = {
    "is_registered": True,
    "valid_from": None,
    "calibration_db": 30.0,
    "passband_hz": None,
    "remove_dc": False,
    "response": None,
}


def heimdall(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


def document(*arguments: object) -> Any:
    """The JSON that a successful command prints, which prints nothing else."""
    result = heimdall(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


def test_every_receiver_is_listed_with_what_holds_now_and_with_what_was_set_if_asked(factory: SessionFactory) -> None:
    factory.add((GOOD,) * 3)
    assert document("receivers", "list") == [{"station": f"RX{i}", **DEFAULTS} for i in (1, 2, 3)]
    document("receivers", "set", "RX2", "--from", "beginning", "--calibration-db", "-13.5", "--remove-dc")
    document("receivers", "set", "RX2", "--from", "2025-01-31", "--passband-hz", "-3000", "3000")
    document("receivers", "set", "RX2", "--from", "2199-01-01", "--keep-dc", "--no-passband")
    held = {"valid_from": "2025-01-31T00:00:00+00:00", "calibration_db": -13.5, "remove_dc": True}
    listed = document("receivers", "list", "--all")
    assert [item["station"] for item in listed] == ["RX1", "RX2", "RX3"]
    assert listed[0] == {"station": "RX1", **DEFAULTS, "history": []}
    assert {name: listed[1][name] for name in held} == held
    assert [(item["valid_from"][:4], item["passband_hz"], item["remove_dc"]) for item in listed[1]["history"]] == [
        ("1970", None, True),
        ("2025", [-3000.0, 3000.0], True),
        ("2199", None, False),
    ]
    factory.rows("UPDATE heimdall.websdr_stations SET name = 'renamed' WHERE name = 'RX2' RETURNING 1")
    listed = document("receivers", "list")
    assert [(item["station"], item["is_registered"]) for item in listed] == [
        ("RX1", True),
        ("RX3", True),
        ("renamed", True),
    ]
    assert {name: listed[2][name] for name in held} == held
    factory.rows("DELETE FROM heimdall.measurements RETURNING 1")
    factory.rows("DELETE FROM heimdall.websdr_stations WHERE name = 'renamed' RETURNING 1")
    assert [(item["station"], item["is_registered"]) for item in document("receivers", "list")] == [
        ("RX1", True),
        ("RX2", False),
        ("RX3", True),
    ]
    lines = heimdall("receivers", "list").stdout.splitlines()
    assert lines[1].split() == ["RX1", "never", "set", "30", "-", "no", "-"]
    assert lines[2].split() == [
        "RX2",
        "(no",
        "such",
        "receiver)",
        "2025-01-31",
        "00:00:00",
        "-13.5",
        "-3000",
        "to",
        "3000",
        "yes",
        "-",
    ]


def test_a_change_says_what_became_stale_how_to_compute_it_and_the_session_why(
    factory: SessionFactory, settings: Settings
) -> None:
    key = factory.add((GOOD, GOOD))
    extract_session(factory.engine, key, settings)
    result = heimdall("receivers", "set", "RX1", "--from", "beginning", "--calibration-db", "12.5")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "RX1 since beginning: calibration_db 12.5, passband_hz -, remove_dc no, response -",
        "1 sessions became stale: `heimdall backfill --stale` computes them again",
    ]
    assert document("backfill", "--stale", "--dry-run") == {"planned": 1}
    factory.replace_file(key, MISSING)
    extract_session(factory.engine, key, settings, stale=True)
    shown = document("show", key)
    assert (shown["stale"], shown["stale_reason"], shown["state"]) == (True, "receiver_settings", "done")
    text = heimdall("show", key).stdout
    assert "stale   receiver_settings: settings of a receiver have changed since" in text
    assert "attempt 2: failed" in text
    assert "not_found: all 2 receivers failed" in text
    undone = document("receivers", "remove", "RX1", "--from", "beginning")
    assert (undone["changed"], undone["sessions_stale"], undone["sessions_current"]) == (True, 0, 1)
    shown = document("show", key)
    assert (shown["stale"], shown["stale_reason"]) == (False, None)
    assert "stale" not in heimdall("show", key).stdout


def test_a_setting_from_now_on_concerns_no_session_that_was_recorded(
    factory: SessionFactory, settings: Settings
) -> None:
    extract_session(factory.engine, factory.add((GOOD,)), settings)
    change = document("receivers", "set", "RX1", "--remove-dc")
    assert (change["changed"], change["sessions_stale"], change["valid_until"]) == (True, 0, None)
    assert not document("receivers", "set", "RX1", "--remove-dc")["changed"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rx1", "there is no receiver 'rx1'; did you mean RX1?"),
        ("X", "there is no receiver 'X'; did you mean RX1?"),
        ("zebra", "there is no receiver 'zebra': `heimdall receivers list` shows all 1"),
    ],
)
def test_an_unknown_receiver_is_one_line_that_names_near_ones(factory: SessionFactory, name: str, said: str) -> None:
    factory.add((GOOD,))
    for words in (["set", name, "--remove-dc"], ["remove", name, "--from", "beginning"]):
        result = heimdall("receivers", *words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"heimdall: {said}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--calibration-db", "nan"], "--calibration-db nan is not allowed: -300 to 300 dB"),
        (["--calibration-db", "-301"], "--calibration-db -301 is not allowed: -300 to 300 dB"),
        (["--passband-hz", "3000", "-3000"], "--passband-hz 3000 -3000 is not allowed: two frequencies"),
        (["--passband-hz", "-inf", "3"], "--passband-hz -inf 3 is not allowed: two frequencies"),
        (["--passband-hz", "0", "2e9"], "--passband-hz 0 2e+09 is not allowed: two frequencies"),
        (["--passband-hz", "0", "1", "--no-passband"], "--passband-hz and --no-passband contradict each other"),
        (["--from", "beginning"], "say what to set: --calibration-db X, "),
        (["--remove-dc", "--from", "soon"], "--from 'soon' is not allowed: a time like 2026-01-31"),
        (["--remove-dc", "--from", "1969-12-31"], "--from '1969-12-31' is not allowed: a time of 1970 or later"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_value_is_refused_with_what_is_allowed_and_changes_nothing(
    factory: SessionFactory, words: list[str], said: str
) -> None:
    factory.add((GOOD,))
    result = heimdall("receivers", "set", "RX1", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"heimdall: {said}")
    assert result.stderr.count("\n") == 1
    assert factory.scalar("SELECT count(*) FROM heimdall.receiver_settings") == 0
