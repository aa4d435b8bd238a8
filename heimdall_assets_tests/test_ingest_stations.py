"""What a ``stations.json`` may say, and what is refused with one clear line."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from heimdall_assets.errors import RecordingError
from heimdall_assets.ingest import ingest
from heimdall_assets.ingest.document import SHOWN_CHARACTERS
from heimdall_assets.ingest.places import LocalPlace
from heimdall_assets.ingest.stations import describe
from heimdall_assets_tests.test_ingest import STATIONS, counts, error_of, files, only, write_folder

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

RECEIVER = STATIONS["receivers"][0]
SOURCE = STATIONS["known_source"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("", "is not JSON: Expecting value"),
        ("\xff", "is not JSON: 'utf-8' codec can't decode byte 0xff"),
        ("[" * 100_000, "is nested too deeply"),
        ("1" * 5000, "is not JSON: Exceeds the limit"),
        ("[]", "holds a list of 0: an object is expected at its top"),
        ("7", "holds 7: an object is expected"),
        ("{}", "it has no receivers"),
        ('{"receivers": []}', "names no receivers"),
        ('{"receivers": 5}', "receivers=5 is not allowed: a list of objects"),
        ('{"receivers": {"a": 1}}', "receivers=an object of 1 is not allowed"),
        ('{"receivers": ["A"]}', 'receivers[0]="A" is not an object'),
        ('{"receivers": [{"name": "A"}]}', "receivers[0] has no file"),
        ('{"receivers": [{"file": "a.npy"}]}', "receivers[0] has no name"),
        ({"receivers": [{**RECEIVER, "latitude": "north"}]}, 'receivers[0].latitude="north" is not allowed'),
        ({"receivers": [{**RECEIVER, "latitude": float("nan")}]}, "latitude=NaN is not allowed"),
        (
            {"receivers": [{**RECEIVER, "latitude": 90.001}]},
            "latitude=90.001 is not allowed: a number within -90 to 90",
        ),
        ({"receivers": [{**RECEIVER, "longitude": -180.5}]}, "longitude=-180.5 is not allowed"),
        ({"receivers": [{**RECEIVER, "longitude": True}]}, "longitude=true is not allowed"),
        ({"receivers": [{**RECEIVER, "longitude": None}]}, "receivers[0] has latitude or longitude alone"),
        ({"receivers": [{**RECEIVER, "altitude_asl": 10**400}]}, "altitude_asl=1e400 or so is not allowed"),
        ({"receivers": [RECEIVER, {**RECEIVER, "file": "b.npy"}]}, 'names receiver "Alpe" twice'),
        ({"receivers": [{**RECEIVER, "name": ""}]}, "receivers[0] has no name"),
        ({"receivers": [{**RECEIVER, "name": 5}]}, "receivers[0].name=5 is not allowed: a text"),
        ({"receivers": [{**RECEIVER, "name": "x" * 256}]}, "is not allowed: a text of at most 255 characters"),
        ({"receivers": [{**RECEIVER, "name": "a\0b"}]}, r'name="a\u0000b" is not allowed: a text without control'),
        ({"receivers": [{**RECEIVER, "name": "a\ud800"}]}, r'name="a\ud800" is not allowed'),
        ({"receivers": [{**RECEIVER, "file": "a\0.npy"}]}, r'file="a\u0000.npy" is not allowed'),
        ({"receivers": [{**RECEIVER, "file": ["a.npy"]}]}, "file=a list of 1 is not allowed"),
        ({"name": "a\ud800"}, r'name="a\ud800" is not allowed'),
        ({"session_start": "yesterday"}, 'session_start="yesterday" is not allowed: a time in ISO 8601'),
        ({"session_start": 5}, "session_start=5 is not allowed"),
        ({"session_start": "56880-01-01T00:00:00Z"}, "session_start="),
        ({"session_start": "0001-01-01T00:00:00+14:00"}, "is not allowed: a time in ISO 8601"),
        ({"session_start": "0001-01-01T00:00:00"}, "is not allowed: a time of 1970 or later, before 2100"),
        ({"session_start": "9999-12-31T23:59:59"}, "is not allowed: a time of 1970 or later, before 2100"),
        ({"known_source": "beacon"}, 'known_source="beacon" is not allowed: an object'),
        ({"known_source": {"name": "S", "latitude": 1}}, "known_source has no longitude"),
        ({"known_source": {**SOURCE, "latitude": -91}}, "known_source.latitude=-91 is not allowed"),
        ({"known_source": {**SOURCE, "frequency_hz": float("inf")}}, "known_source.frequency_hz=Infinity"),
        ({"known_source": {**SOURCE, "source_type": "x" * 101}}, "a text of at most 100 characters"),
        ({"center_frequency_hz": float("nan")}, "center_frequency_hz=NaN is not allowed"),
        ({"center_frequency_hz": -5}, "center_frequency_hz=-5 is not allowed: a number within 1 to 1e+15"),
        ({"center_frequency_hz": "7e6"}, 'center_frequency_hz="7e6" is not allowed'),
        ({"sample_rate_hz": 0}, "sample_rate_hz=0 is not allowed: a number within 1 to 2147483647"),
        ({"sample_rate_hz": 3e9}, "sample_rate_hz=3000000000.0 is not allowed"),
    ],
)
def test_a_stations_file_that_cannot_be_used_is_refused_with_the_value_and_what_is_allowed(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path, text: Any, message: str
) -> None:
    folder = write_folder(tmp_path / "in")
    whole = text if isinstance(text, str) else json.dumps({**STATIONS, **text})
    (folder / "stations.json").write_bytes(whole.encode("latin-1"))
    reason, said = error_of(only(ingest([folder], engine, settings)))
    assert reason == "malformed"
    assert message in said
    assert str(folder) in said
    assert counts(factory) == [0, 0, 0, 0]
    assert files(factory.root) == set()


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.npy", "a/../../b.npy", ".."])
def test_a_file_outside_of_the_folder_is_refused(engine: Engine, settings: Settings, tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "in", receivers=[{**RECEIVER, "file": name}])
    reason, said = error_of(only(ingest([folder], engine, settings)))
    assert reason == "location_refused"
    assert said == f'{folder / "stations.json"} names "{name}", which lies outside of its folder'


@pytest.mark.parametrize("name", [".", "sub", "x" * 300, "no.npy"])
def test_a_file_that_is_none_is_named(engine: Engine, settings: Settings, tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "in", receivers=[{**RECEIVER, "file": name}])
    (folder / "sub").mkdir()
    _, said = error_of(only(ingest([folder], engine, settings)))
    assert str(folder) in said


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_any_encoding_of_unicode_is_read_with_a_mark_or_without(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path, encoding: str
) -> None:
    folder = write_folder(tmp_path / "in", receivers=[{**RECEIVER, "name": "Èze"}])
    text = json.dumps(json.loads((folder / "stations.json").read_text()), ensure_ascii=False)
    (folder / "stations.json").write_bytes(text.encode(encoding))
    assert only(ingest([folder], engine, settings)).is_new
    assert factory.scalar("SELECT name FROM heimdall.websdr_stations") == "Èze"


def test_values_at_the_ends_of_their_ranges_are_stored(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path
) -> None:
    edges = [
        {**RECEIVER, "latitude": 90, "longitude": -180, "name": "x" * 255, "altitude_asl": -1e6},
        {"name": "B", "file": "b.npy", "latitude": None, "longitude": None},
    ]
    source = {**SOURCE, "latitude": -90, "longitude": 180, "frequency_hz": 1e15, "power_dbm": -300}
    more: dict[str, Any] = {"sample_rate_hz": 2**31 - 1, "center_frequency_hz": 1e15, "name": "y" * 1000}
    folder = write_folder(tmp_path / "in", receivers=edges, known_source=source, **more)
    result = only(ingest([folder], engine, settings))
    assert (result.is_new, result.error) == (True, None)
    assert counts(factory) == [2, 1, 1, 2]
    assert only(ingest([folder], engine, settings)).corrections == ()


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 91, 181, 2**31, 2**63, 10**400, 1e300, float("nan"), float("inf"), -0.0]),
    st.floats(),
    st.text(st.characters()),  # surrogates and control characters too
    st.sampled_from(["", "\0", "\ud800", "..", "/", ".", "a.npy", "0001-01-01", "2024-02-30", "9" * 400, "nan"]),
    st.recursive(
        st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
)


def places_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in places_of(item, (*path, key)))]


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A good description in which up to three values were replaced, dropped or doubled."""
    document: Any = copy.deepcopy(STATIONS)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places_of(document)))
        if not path:
            return draw(ODD)
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        change = draw(st.sampled_from(["replace", "replace", "drop", "double"]))
        if change == "replace":
            holder[path[-1]] = draw(ODD)
        elif change == "drop":
            del holder[path[-1]]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[path[-1]]))
        else:
            holder[draw(st.text(max_size=5))] = copy.deepcopy(holder[path[-1]])
    return document


@examples(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents())
def test_no_change_of_a_description_is_worse_than_one_line(tmp_path: Path, document: Any) -> None:
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    (folder / "stations.json").write_text(json.dumps(document))
    said, names = outcome_of(folder)
    assert said.isascii()
    assert "\n" not in said
    assert len(said) < len(str(folder)) + 200 + SHOWN_CHARACTERS
    "".join(names).encode()


def outcome_of(folder: Path) -> tuple[str, list[str]]:
    """The message of a refusal, or the names of the receivers."""
    try:
        return "", [station.name for station, _ in describe(LocalPlace(folder), None).receivers]
    except RecordingError as error:
        return str(error), []


@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents())
def test_what_passes_the_checks_can_be_stored(
    engine: Engine, factory: SessionFactory, settings: Settings, tmp_path: Path, document: Any
) -> None:
    folder = tmp_path / "in"
    if not folder.exists():
        write_folder(folder)
    np.save(folder / "a.npy", np.ones(2000, np.complex64))
    (folder / "stations.json").write_text(json.dumps(document))
    result = only(ingest([folder], engine, settings, correct_stations=True))
    assert result.error is None or result.error.message.isascii()
    if result.error is None:
        assert only(ingest([folder], engine, settings)).corrections == ()
