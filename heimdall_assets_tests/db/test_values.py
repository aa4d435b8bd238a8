"""What others wrote, read by the driver and by JSON: everything comes back, and says what it was."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from heimdall_assets.db.engine import autocommit, open_engine, transaction
from heimdall_assets.db.values import (
    DURATION,
    NUMBER,
    TIME,
    UnreadableText,
    UnreadableTime,
    from_json,
    is_sound,
    json_number,
    to_json,
)
from heimdall_assets_tests.conftest import drop_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Engine

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def scalar(engine: Engine, expression: str, **parameters: Any) -> Any:
    """The value of an expression."""
    with transaction(engine) as connection:
        return connection.scalar(sa.text(f"SELECT {expression}"), parameters)


@contextmanager
def database_without_encoding(server_url: URL) -> Iterator[Engine]:
    """A database that takes text for bytes."""
    server = open_engine(server_url.set(database="postgres"), pool_size=1)
    with autocommit(server) as connection:
        connection.execute(
            sa.text("CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
        )
    server.dispose()
    engine = open_engine(server_url.set(database="bytes"), pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()
        drop_database(engine.url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
        ("56880-01-01 00:00+00", "56880-01-01 00:00:00+00"),
        ("4714-11-24 00:00+00 BC", "4714-11-24 00:00:00+00 BC"),
        ("294276-12-31 23:59:59.999999+00", "294276-12-31 23:59:59.999999+00"),
    ],
)
def test_a_time_that_python_cannot_hold_is_near_and_shown_as_it_is(engine: Engine, text: str, shown: str) -> None:
    found = scalar(engine, f"CAST('{text}' AS timestamptz)")
    assert isinstance(found, UnreadableTime)
    assert {str(found), found.isoformat(), f"{found:%Y-%m-%d}", found.strftime("%Y"), str(found.astimezone())} == {
        shown
    }
    is_past = text.startswith("-") or text.endswith("BC")
    assert (found < datetime.now(UTC)) == is_past


def test_other_times_are_as_they_were(engine: Engine) -> None:
    for moment in (datetime(1, 1, 1, tzinfo=UTC), datetime(2025, 6, 1, 12, 30, 1, 5, tzinfo=UTC)):
        found = scalar(engine, "CAST(:moment AS timestamptz)", moment=moment)
        assert type(found) is datetime
        assert found == moment


@pytest.mark.parametrize(
    ("value", "kind", "is_right"),
    [
        ("timestamptz '2025-06-01'", TIME, True),
        ("timestamptz 'infinity'", TIME, False),
        ("timestamptz '10000-01-01'", TIME, False),
        ("timestamptz '4000-01-01 BC'", TIME, False),
        ("CAST(NULL AS timestamptz)", TIME, None),
        ("3.5::double precision", DURATION, True),
        ("'NaN'::double precision", DURATION, False),
        ("1e13::double precision", DURATION, False),
        ("'-Infinity'::double precision", NUMBER, False),
        ("'NaN'::double precision", NUMBER, False),
        ("-1e200::double precision", NUMBER, True),
    ],
)
def test_what_is_sound_is_what_can_be_worked_with(engine: Engine, value: str, kind: str, is_right: bool | None) -> None:
    assert scalar(engine, is_sound(value, kind)) is is_right


@pytest.mark.parametrize(
    ("document", "number"),
    [("1.5", 1.5), ("0", 0.0), ("1e400", None), ("-1e400", None), ("1e-400", 0.0), ('"1"', None), ("null", None)],
)
def test_a_number_in_json_is_one_where_double_precision_holds_it(
    engine: Engine, document: str, number: float | None
) -> None:
    assert scalar(engine, json_number("CAST(:document AS jsonb)"), document=document) == number


@pytest.mark.parametrize("document", ["9" * 5000, "-" + "9" * 5000, "1e400", "[1e400]", "[1, 2.5, 1e400]"])
def test_a_number_that_python_cannot_hold_is_none(engine: Engine, document: str) -> None:
    found = scalar(engine, "CAST(:document AS jsonb)", document=document)
    assert found in (None, [None], [1, 2.5, None])


def test_a_document_that_is_nested_too_deep_for_python_is_its_text(engine: Engine) -> None:
    deep = "[" * 3000 + "]" * 3000
    assert scalar(engine, "CAST(:document AS jsonb)", document=deep) == deep


@given(JSON)
def test_what_is_stored_in_json_comes_back(value: Any) -> None:
    assert from_json(to_json(value)) == from_json(json.dumps(value).replace("\\u0000", "\\ufffd"))


@given(st.text(st.characters(exclude_categories=[])))
def test_texts_are_stored_whatever_is_in_them(text: str) -> None:
    kept = from_json(to_json({"text": text}))["text"]
    kept.encode()
    assert "\x00" not in kept
    assert len(kept) == len(text)


def test_nan_is_refused_in_json() -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        to_json({"a": [math.nan]})


def test_bytes_of_a_database_without_an_encoding_are_read_and_named(server_url: URL) -> None:
    with database_without_encoding(server_url) as engine:
        assert scalar(engine, "'Torino'::text") == "Torino"
        assert scalar(engine, "CAST(:name AS varchar)", name="Zürich") == "Zürich"
        assert scalar(engine, "convert_from('\\xc3bc'::bytea, 'SQL_ASCII')") == "ü"
        found = scalar(engine, "convert_from('\\x61ff62'::bytea, 'SQL_ASCII')")
        assert isinstance(found, UnreadableText)
        assert found == "a\\xffb"
        assert scalar(engine, "to_jsonb(convert_from('\\x61ff62'::bytea, 'SQL_ASCII'))") == "a\ufffdb"
