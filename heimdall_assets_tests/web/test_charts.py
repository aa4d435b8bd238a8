"""Charts and maps: what is drawn is what was counted, and no text becomes markup."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdall_assets.db.network import Place
from heimdall_assets.web import charts
from heimdall_assets.web.charts import Band, Column
from heimdall_assets.web.maps import HEIGHT, WIDTH, network_map
from heimdall_assets.web.rendering import duration, number, percent

START = datetime(2025, 6, 1, tzinfo=UTC)
counts = st.lists(st.integers(0, 10**7), min_size=1, max_size=8)
degrees = st.tuples(st.text(max_size=20), st.floats(-90, 90), st.floats(-180, 180))


def parsed(drawing: str) -> ET.Element:
    """The drawing, which must be well-formed, with numbers that are finite."""
    assert not re.search(r"\b(nan|inf)\b", drawing)
    return ET.fromstring(drawing)


@given(counts)
def test_a_bars_parts_fill_it_and_whatever_is_there_is_seen(values: list[int]) -> None:
    drawing = charts.share_bar([(f"c{i}", f"n{i}", value) for i, value in enumerate(values)], "a bar")
    if not any(values):
        assert drawing == ""
        return
    widths = [float(rect.attrib["width"]) for rect in parsed(drawing)]
    assert len(widths) == sum(value > 0 for value in values)
    assert math.isclose(sum(widths), 100.0, abs_tol=0.05)
    assert min(widths) >= 0.5


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=30), st.floats(0, 1e7))
def test_layers_over_time_stay_within_their_drawing(values: list[tuple[int, int]], span_s: float) -> None:
    moments = [START + timedelta(seconds=span_s * i / max(1, len(values) - 1)) for i in range(len(values))]
    bands = [Band("a", "A", [a for a, _ in values]), Band("b", "B", [b for _, b in values])]
    drawing = parsed(charts.stacked(moments, bands, "layers", width=400.0, height=200.0))
    for polygon in drawing.iter("polygon"):
        for point in polygon.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert charts.LEFT - 0.1 <= x <= 400 - charts.RIGHT + 0.1
            assert charts.TOP - 0.1 <= y <= 200 - charts.BOTTOM + 0.1


def test_a_layer_holds_its_last_value_until_the_next_report() -> None:
    moments = [START, START + timedelta(hours=1), START + timedelta(hours=2)]
    drawing = parsed(charts.stacked(moments, [Band("a", "A", [0, 10, 10])], "steps", width=248.0, height=130.0))
    [polygon] = drawing.iter("polygon")
    upper = [tuple(map(float, point.split(","))) for point in polygon.attrib["points"].split()][:5]
    assert upper == [(40.0, 108.0), (140.0, 108.0), (140.0, 8.0), (240.0, 8.0), (240.0, 8.0)]


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=200))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    drawing = parsed(charts.histogram(values, "c", "values", width=400.0, unit="dB"))
    titles = [title.text or "" for title in drawing.iter("title")]
    assert sum(int(title.rpartition(": ")[2].split()[0].replace(",", "")) for title in titles) == len(values)
    assert len(titles) <= 60


def test_values_beyond_the_end_are_in_the_last_bin() -> None:
    drawing = parsed(charts.histogram([1.0, 2.0, 3.0, 500.0], "c", "values", width=400.0, unit="", high=20.0))
    titles = [title.text or "" for title in drawing.iter("title")]
    assert titles[0] == "1 to 2 : 1 sessions"
    assert titles[-1].endswith(": 1 sessions")
    assert len(titles) <= 21


@given(st.floats(0, 1e9))
def test_lines_across_a_chart_are_few_round_and_reach_its_top(most: float) -> None:
    lines = charts.grid_of(most)
    assert 2 <= len(lines) <= 6
    assert lines[0] == 0
    assert lines[-1] >= most * (1 - 1e-9)
    assert lines[-1] <= max(1.0, 2.5 * most + 1)


@pytest.mark.parametrize(
    ("least", "step"), [(0.0, 1.0), (0.11, 0.2), (1.0, 1.0), (1.01, 2.0), (2.2, 2.5), (3.0, 5.0), (7.0, 10.0)]
)
def test_steps_are_round(least: float, step: float) -> None:
    assert charts.nice_step(least) == pytest.approx(step)


def test_no_text_becomes_markup() -> None:
    evil = '"><script>alert(1)</script>'
    place = Place(evil, 45.0, 8.0)
    drawings = [
        charts.share_bar([("c", evil, 1)], evil),
        charts.stacked([START], [Band("c", evil, [1])], evil, width=400.0),
        charts.columns([Column(evil, [("c", 1.0)], evil)], evil, width=400.0),
        network_map([place], [place], {evil}),
    ]
    for drawing in drawings:
        assert "<script" not in drawing
        assert not list(parsed(drawing).iter("script"))


@given(st.lists(degrees, min_size=1, max_size=12), st.lists(degrees, max_size=12))
def test_every_place_is_on_the_map_wherever_it_is(
    receivers: list[tuple[str, float, float]], sources: list[tuple[str, float, float]]
) -> None:
    def known(places: list[tuple[str, float, float]]) -> list[Place]:
        # XML knows no control characters, nor does PostgreSQL's text the zero
        return [Place(re.sub(r"[^\x20-\ud7ff]", "", name), lat, lon) for name, lat, lon in places]

    drawing = parsed(network_map(known(receivers), known(sources), set()))
    circles, triangles = list(drawing.iter("circle")), list(drawing.iter("polygon"))
    assert (len(circles), len(triangles)) == (len(receivers), len(sources))
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT


def test_a_map_keeps_north_up_and_east_right_and_its_names_apart() -> None:
    places = [Place("south-west", 44.0, 7.0), Place("north-east", 46.0, 9.0), Place("beside", 44.001, 7.001)]
    drawing = parsed(network_map(places, [], {"beside"}))
    first, second, third = drawing.iter("circle")
    assert float(first.attrib["cx"]) < float(second.attrib["cx"])
    assert float(first.attrib["cy"]) > float(second.attrib["cy"])
    assert third.attrib["class"] == "receiver quiet"
    names = [text for text in drawing.iter("text") if text.attrib.get("class", "").startswith("name")]
    spots = {(text.attrib["x"], text.attrib["y"]) for text in names}
    assert len(spots) == len(names) >= 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0, "0 s"), (0.0231, "23 ms"), (59.6, "1 min"), (3600.0, "1 h"), (90_061.0, "1 d 1 h")],
)
def test_time_spans_are_written_in_the_units_that_matter(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_figures_never_say_more_than_is_so() -> None:
    assert percent(99.99) == "99.9 %"  # not all of them
    assert percent(100.0) == "100.0 %"
    assert percent(None) == "-"
    assert (number(None), number(1_234_567), number(0.0), number(-12.3456), number(123456.7)) == (
        "-",
        "1,234,567",
        "0",
        "-12.35",
        "123,457",
    )
