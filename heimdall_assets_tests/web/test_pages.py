"""The pages over real HTTP: every figure leads on, nothing is shown to strangers, nothing is taken for markup."""

from __future__ import annotations

import re
import uuid
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from heimdall_assets.db import coverage, heartbeats, tables
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets_tests.factory import GOOD, MISSING, TRUNCATED
from heimdall_assets_tests.web.client import Client
from heimdall_assets_tests.web.server import TOKEN, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """What a page links to, loads, and says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named: dict[str, Any] = dict(attrs)
        self.tags.append(tag)
        self.ids += [named["id"]] if "id" in named else []
        if tag == "a":
            self.links.append(named["href"])
        elif tag != "image":
            self.loaded += [str(named[name]) for name in ("src", "srcset", "href") if name in named]
        assert "style" not in named, "the content security policy forbids it"
        assert not [name for name in named if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words += f"{data} "


@pytest.fixture
def network(factory: SessionFactory, engine: Engine, settings: Settings) -> dict[str, uuid.UUID]:
    """A done, a partial, a quarantined and a failed session, one that waits; and a report of them."""
    keys = {
        "done": factory.add([GOOD] * 3, minutes=1),
        "partial": factory.add([GOOD, GOOD, TRUNCATED], minutes=2),
        "quarantined": factory.add([TRUNCATED] * 3, minutes=3),
        "failed": factory.add([MISSING], minutes=4),
    }
    for key in keys.values():
        extract_session(engine, key, settings, run_id="0123456789abcdef")
    keys["pending"] = factory.add([GOOD], minutes=5)
    with transaction(engine) as connection:
        connection.execute(
            sa.insert(tables.known_sources).values(name="<b>Turm</b> & Co", latitude=45.5, longitude=8.1)
        )
        coverage.report_coverage(connection, feature_version=FEATURE_VERSION)
        heartbeats.beat(connection, heartbeats.PLANNER)
    return keys


@pytest.fixture
def browser(api: Client) -> Client:
    """Somebody who logged in."""
    answer = Client(api.address).log_in(TOKEN)
    return Client(api.address, headers={"Cookie": answer.headers["set-cookie"].partition(";")[0]})


def read(browser: Client, path: str) -> Page:
    """A page that is there."""
    answer = browser.get(path, Accept="text/html")
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer.text)


def test_a_stranger_sees_a_log_in_page_and_nothing_else(api: Client, network: dict[str, uuid.UUID]) -> None:
    stranger = Client(api.address)
    text = stranger.get("/").text
    assert "Admin token" in text
    assert TOKEN not in text
    assert "sessions" not in text
    for path in ("/sessions", "/sessions?state=done", f"/sessions/{network['done']}"):
        answer = stranger.get(path)
        assert answer.status == 303
        assert answer.headers["location"].startswith("/login?to=%2Fsessions")
    key = uuid.uuid4()
    assert stranger.get("/metrics").status == 401
    assert stranger.get(f"/sessions/{key}/receivers/{key}/spectrum.png").status == 401
    # a token that was sent is checked as everywhere
    assert Client(api.address, "wrong").get("/").status == 401
    assert "with features" in Client(api.address, TOKEN).get("/").text


def test_every_link_of_the_pages_leads_somewhere(browser: Client, network: dict[str, uuid.UUID]) -> None:
    waiting, seen, elsewhere, pictures = ["/"], {"/"}, set(), set()
    while waiting:
        page = read(browser, waiting.pop())
        assert {link.partition("#")[2] for link in page.links if link.startswith("#")} <= set(page.ids)
        for path in (*page.links, *page.loaded):
            if path.startswith("http://127.0.0.1:3000"):
                elsewhere.add(path)
            elif ".png" in path:
                pictures.add(path.partition("?")[0])
            elif path.startswith("/static/") or path == "/openapi.json":
                assert browser.get(path).status == 200, path
            elif not path.startswith("#") and path not in seen:
                seen.add(path)
                waiting.append(path)
    spectra = [path for path in pictures if "/spectrum.png" in path]
    assert len(spectra) == 3 + 2  # of the done session, and of the partial one
    assert {browser.get(path).status for path in spectra} == {200}
    done = network["done"]
    assert {"/", "/docs", "/sessions", "/sessions?state=trouble", "/sessions?reason=truncated"} <= seen
    assert {f"/sessions/{key}" for key in network.values()} - {f"/sessions/{network['pending']}"} <= seen
    asset = "http://127.0.0.1:3000/assets/measurement_features?view=partitions"
    assert {f"{asset}&partition={done}", "http://127.0.0.1:3000/runs/0123456789abcdef"} <= elsewhere


def test_the_dashboard_says_what_stats_says(browser: Client, network: dict[str, uuid.UUID]) -> None:
    words = " ".join(read(browser, "/").words.split())
    assert "planner at work" in words
    assert "40.0 %" in words  # 2 of 5
    assert "2 of 5 sessions" in words
    assert "truncated 1 1" in words
    assert "not_found 1 0" in words
    assert "<b>Turm</b> & Co" in words  # as text
    # four sessions are known to the planner: one without RX3, one that failed as a whole, one without RX3's features
    assert re.search(r"RX1 100\.0 % 100\.0 % 50\.0 %", words)
    assert re.search(r"RX3 75\.0 % 100\.0 % 66\.7 %", words)


def test_every_chart_has_words_for_those_who_do_not_see_it(browser: Client, network: dict[str, uuid.UUID]) -> None:
    text = browser.get("/", Accept="text/html").text
    drawings = re.findall(r"<svg [^>]*>", text)
    assert len(drawings) > 8
    for drawing in drawings:
        assert 'aria-hidden="true"' in drawing or re.search(r'role="img" aria-label="[^"]{20,}"', drawing), drawing
    assert "Sessions by state: 1 done, 1 partial, 1 pending, 1 failed, 1 given up" in text
    assert "Map of 3 receivers, 0 of them quiet, and 1 known transmitters" in text


def test_a_session_page_shows_figures_errors_attempts_and_pictures(
    browser: Client, network: dict[str, uuid.UUID]
) -> None:
    page = read(browser, f"/sessions/{network['partial']}")
    words = " ".join(page.words.split())
    assert "truncated" in words
    assert "its header announces" in words
    assert "snr_db" in words
    assert "assumed of the receiver no filter, flat response no filter, flat response" in words
    assert "1 partial" in words  # the attempt
    pictures = [path for path in page.loaded if ".png" in path]
    assert len(pictures) == 2 * 3 * 2  # the receivers that can be drawn, three kinds, two schemes
    answer = browser.get(pictures[0])
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert answer.body.startswith(PNG)
    assert "max-age" in answer.headers["cache-control"]
    assert browser.get(pictures[0], If_None_Match=answer.headers["etag"]).status == 304
    assert browser.get(pictures[0]).body == answer.body
    assert browser.get(pictures[1]).body != answer.body


def test_a_picture_that_cannot_be_drawn_says_why(
    browser: Client, network: dict[str, uuid.UUID], factory: SessionFactory
) -> None:
    def picture_of(name: str, kind: str = "spectrum") -> str:
        query = "SELECT id FROM heimdall.measurements WHERE recording_session_id = :id LIMIT 1"
        measurement = factory.scalar(query, id=network[name])
        return f"/sessions/{network[name]}/receivers/{measurement}/{kind}.png"

    cut = browser.get(picture_of("quarantined"))
    assert cut.status == 409
    assert cut.document["detail"].startswith("truncated: ")
    gone = browser.get(picture_of("failed"))
    assert gone.status == 404
    assert "does not exist" in gone.document["detail"]
    other = picture_of("done").replace(str(network["done"]), str(network["partial"]))
    assert browser.get(other).status == 404
    assert browser.get(picture_of("done", "portrait")).status == 422
    assert browser.get(f"{picture_of('done')}?theme=pink").status == 422


def test_lists_show_the_sessions_behind_a_figure(browser: Client, network: dict[str, uuid.UUID]) -> None:
    def listed(path: str) -> set[str]:
        links = read(browser, path).links
        return {name for name, key in network.items() if f"/sessions/{key}" in links}

    known = {"done", "partial", "quarantined", "failed"}  # nobody has discovered the one that waits
    assert listed("/sessions") == known
    assert listed("/sessions?state=trouble") == {"quarantined", "failed"}
    assert listed("/sessions?reason=truncated") == {"quarantined"}
    assert listed("/sessions?state=partial") == {"partial"}
    assert listed("/sessions?state=stale") == set()
    assert browser.get("/sessions?state=nonsense", Accept="text/html").status == 422
    assert browser.get("/sessions?after=x", Accept="text/html").status == 422


def test_long_lists_go_on_where_they_ended(browser: Client, factory: SessionFactory) -> None:
    keys = factory.add_many(60, [])
    factory.rows(
        """INSERT INTO heimdall.feature_states (recording_session_id, state, completed_at, measurements_total)
           SELECT id, 'empty', updated_at, 0 FROM heimdall.recording_sessions RETURNING 1"""
    )
    first = read(browser, "/sessions?state=empty")
    [more] = [link for link in first.links if "after=" in link]
    second = read(browser, more)
    shown = [link for page in (first, second) for link in page.links if re.fullmatch(r"/sessions/[0-9a-f-]{36}", link)]
    assert sorted(shown) == sorted(f"/sessions/{key}" for key in keys)
    assert not [link for link in second.links if "after=" in link]


def test_nothing_yet_says_what_to_do(browser: Client) -> None:
    words = read(browser, "/").words
    assert "No completed recording session yet" in words
    assert "heimdall ingest PATH..." in words
    assert "There is none." in read(browser, "/sessions").words


def test_an_unknown_session_is_a_page_of_its_own(browser: Client) -> None:
    answer = browser.get(f"/sessions/{uuid.uuid4()}", Accept="text/html")
    assert answer.status == 404
    assert "there is no recording session" in answer.text


@pytest.fixture
def without_database(web_settings: Settings) -> Iterator[Client]:
    """Somebody who logged in where no database answers; the URL holds a password."""
    settings = web_settings.model_copy(update={"database_url": "postgresql://user:hunter2@127.0.0.1:9/heimdall"})
    with serving(settings) as address:
        cookie = Client(address).log_in(TOKEN).headers["set-cookie"].partition(";")[0]
        yield Client(address, headers={"Cookie": cookie})


def test_without_a_database_every_page_says_so_and_comes_back_by_itself(without_database: Client) -> None:
    for path in ("/", "/sessions", f"/sessions/{uuid.uuid4()}"):
        answer = without_database.get(path, Accept="text/html")
        assert answer.status == 503
        assert answer.headers["retry-after"] == "10"
        assert "The database is away" in answer.text
        assert "/static/reload.js" in answer.text
        assert "hunter2" not in answer.text
    for path in ("/metrics", "/api/v1/admin/features/stats"):
        answer = without_database.get(path)
        assert (answer.status, list(answer.document)) == (503, ["detail"])
        assert "hunter2" not in answer.text


def test_large_tables_are_shown_as_they_were_reported(
    browser: Client, network: dict[str, uuid.UUID], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(engine) as connection:
        report = coverage.coverage_figures(connection, feature_version=FEATURE_VERSION)
        connection.execute(
            sa.update(tables.feature_coverage_reports).values(figures={**report, "total_recordings": 1_234_567})
        )
    assert "1,234,567" not in read(browser, "/").words
    monkeypatch.setattr("heimdall_assets.db.suspects.SMALL_TABLE", 0)
    assert "1,234,567" in read(browser, "/").words


def test_metrics_are_those_of_the_tables(api: Client, network: dict[str, uuid.UUID], engine: Engine) -> None:
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert lines['heimdall_sessions{state="done"}'] == "1.0"
    assert lines['heimdall_sessions{state="quarantined"}'] == "1.0"
    assert lines['heimdall_sessions{state="ignored"}'] == "0.0"
    assert lines['heimdall_attempts_total{outcome="failed",reason="truncated"}'] == "1.0"
    assert lines['heimdall_attempts_total{outcome="done",reason=""}'] == "1.0"
    assert lines['heimdall_session_seconds_count{outcome="partial"}'] == "1.0"
    assert float(lines['heimdall_session_seconds_sum{outcome="done"}']) > 0
    assert lines["heimdall_oldest_pending_seconds"] == "0.0"
    assert 0 <= float(lines["heimdall_planner_silence_seconds"]) < 300


def test_a_database_that_was_never_upgraded_is_named_with_what_to_do(web_settings: Settings) -> None:
    engine = open_engine(sa.make_url(web_settings.database_url or ""))
    with transaction(engine) as connection:
        connection.execute(sa.text("DROP SCHEMA heimdall CASCADE"))
    engine.dispose()
    with serving(web_settings) as address:
        answer = Client(address, TOKEN).get("/", Accept="text/html")
    assert answer.status == 503
    assert "run `heimdall db upgrade` first" in answer.text


def test_a_reason_that_no_database_can_hold_is_refused_and_not_taken_for_a_database_that_is_away(
    api: Client,
) -> None:
    answer = api.get("/sessions?reason=a%00b")
    assert answer.status == 422
    assert "NUL" in answer.text
