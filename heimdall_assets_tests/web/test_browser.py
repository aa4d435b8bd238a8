"""The pages in a real Chromium: in both colour schemes, on a phone and a wide screen, with nothing from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from heimdall_assets.db import coverage, heartbeats
from heimdall_assets.db.engine import transaction
from heimdall_assets.extraction import extract_session
from heimdall_assets.records import FEATURE_VERSION
from heimdall_assets.web.pages import report_page
from heimdall_assets_tests.factory import GOOD, TRUNCATED
from heimdall_assets_tests.web.server import TOKEN, serving

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page
    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings
    from heimdall_assets_tests.factory import SessionFactory

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SERIOUS = {"serious", "critical"}
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's browser; none is downloaded."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page and what went wrong on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def visit(self, address: str) -> None:
        """Open an address and wait until nothing is loading any more."""
        self.page.goto(address)
        self.page.wait_for_load_state("networkidle")

    def require_accessible(self) -> None:
        """Fail where axe-core finds a serious fault."""
        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        faults = [(fault["id"], fault["nodes"][0]["html"]) for fault in found if fault["impact"] in SERIOUS]
        assert faults == []

    def require_fitting(self) -> None:
        """Fail where the page is wider than the screen."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def watched(browser: Browser, *, width: int = 1440, scheme: Any = "light") -> Watched:
    """A new page in a profile of its own."""
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    result = Watched(page)
    page.on("console", lambda message: result.complaints.append(message.text))
    page.on("pageerror", lambda error: result.complaints.append(str(error)))
    page.on("request", lambda request: result.requested.append(request.url))
    return result


@pytest.fixture
def sessions(factory: SessionFactory, engine: Engine, settings: Settings) -> dict[str, uuid.UUID]:
    """A session that is done and one that failed, and a report of them."""
    keys = {"done": factory.add([GOOD] * 3), "failed": factory.add([TRUNCATED], minutes=1)}
    for key in keys.values():
        extract_session(engine, key, settings, run_id="a-run")
    with transaction(engine) as connection:
        coverage.report_coverage(connection, feature_version=FEATURE_VERSION)
        heartbeats.beat(connection, heartbeats.PLANNER)
    return keys


@pytest.fixture
def address(web_settings: Settings) -> Iterator[str]:
    """The application."""
    with serving(web_settings) as running:
        yield running


def test_from_the_printed_address_to_a_failures_session_and_a_picture(
    chromium: Browser, address: str, sessions: dict[str, uuid.UUID]
) -> None:
    seen = watched(chromium)
    page = seen.page
    seen.visit(f"{address}/login#token={TOKEN}")
    page.wait_for_url(f"{address}/")
    assert page.get_by_role("heading", name="Coverage", exact=True).is_visible()
    page.get_by_role("link", name="truncated").click()
    assert page.get_by_role("heading", name="Failing sessions: truncated").is_visible()
    page.locator(f"a[href='/sessions/{sessions['failed']}']").click()
    assert page.get_by_text("its header announces").first.is_visible()
    assert f"partition={sessions['failed']}" in str(page.get_by_role("link", name="partition").get_attribute("href"))
    seen.visit(f"{address}/sessions/{sessions['done']}")
    picture = page.locator("img").first
    picture.scroll_into_view_if_needed()
    page.wait_for_function("document.images[0].complete && document.images[0].naturalWidth > 0")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{address}/login")
    seen.visit(f"{address}/")
    assert page.get_by_label("Admin token").is_visible()
    assert seen.complaints == []
    assert [url for url in seen.requested if not url.startswith(address)] == []
    assert [url for url in seen.requested if TOKEN in url.partition("#")[0]] == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_every_page_is_accessible_and_fits(
    chromium: Browser, address: str, sessions: dict[str, uuid.UUID], scheme: str, width: int
) -> None:
    seen = watched(chromium, width=width, scheme=scheme)
    seen.visit(f"{address}/login")
    seen.require_accessible()
    seen.require_fitting()
    seen.page.get_by_label("Admin token").fill(TOKEN)
    seen.page.get_by_role("button", name="Log in").click()
    seen.page.wait_for_url(f"{address}/")
    for path in ("/", "/sessions", f"/sessions/{sessions['done']}", f"/sessions/{sessions['failed']}", "/docs"):
        seen.visit(address + path)
        seen.require_accessible()
        seen.require_fitting()
    assert seen.complaints == []
    assert [url for url in seen.requested if not url.startswith(address)] == []


def test_the_keyboard_reaches_the_content_first_and_then_every_link(
    chromium: Browser, address: str, sessions: dict[str, uuid.UUID]
) -> None:
    seen = watched(chromium)
    seen.visit(f"{address}/login#token={TOKEN}")
    seen.page.wait_for_url(f"{address}/")
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.textContent") == "Skip to content"
    links = seen.page.locator("a[href]").count()
    reached = set()
    for _ in range(links + 20):
        seen.page.keyboard.press("Tab")
        reached.add(seen.page.evaluate("document.activeElement.href || ''"))
    assert f"{address}/sessions?reason=truncated" in reached


def test_nothing_yet_and_no_database_are_pages_too(chromium: Browser, web_settings: Settings) -> None:
    for settings, said in (
        (web_settings, "No completed recording session yet"),
        (web_settings.model_copy(update={"database_url": "postgresql://127.0.0.1:9/x"}), "The database is away"),
    ):
        with serving(settings) as running:
            seen = watched(chromium, width=390)
            seen.page.goto(f"{running}/login#token={TOKEN}")
            seen.page.wait_for_url(f"{running}/")
            assert seen.page.get_by_role("heading", name=said).is_visible()
            seen.require_accessible()
            seen.require_fitting()


def test_the_report_is_one_file_that_needs_no_other(
    chromium: Browser, sessions: dict[str, uuid.UUID], web_settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    with transaction(engine) as connection:
        path.write_text(report_page(connection, web_settings), encoding="utf-8")
    seen = watched(chromium, scheme="dark")
    seen.visit(path.as_uri())
    assert seen.page.get_by_role("heading", name="Failures by reason").is_visible()
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 24, 26)"
    seen.require_accessible()
    assert seen.requested == [path.as_uri()]
    assert seen.complaints == []
    links = seen.page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
    assert [link for link in links if not link.startswith(("#", "http://127.0.0.1:3000/"))] == []
    assert TOKEN not in path.read_text(encoding="utf-8")
