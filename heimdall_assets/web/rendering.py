"""Templates to pages: one environment, everything escaped, figures written the same way everywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
NOTHING = "-"
"""Shown where there is no value."""


def page(name: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any) -> HTMLResponse:
    """A template as an answer."""
    return HTMLResponse(rendered(name, **values), status, dict(headers or {}))


def rendered(name: str, **values: Any) -> str:
    """A template as text."""
    return _environment().get_template(name).render(**values)


def stylesheet() -> Markup:
    """The style sheet's text, for a page that has it inside."""
    return Markup((STATIC / "heimdall.css").read_text(encoding="utf-8"))  # noqa: S704  # our own file


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, duration=duration, moment=moment, percent=percent, short=short, words=words
    )
    return environment


def number(value: float | None, digits: int = 4) -> str:
    """A figure: integers with separators, others to a number of significant digits."""
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def percent(value: float | None, decimals: int = 1) -> str:
    """A share in percent; only what is whole is written as 100 %."""
    if value is None:
        return NOTHING
    text = f"{value:.{decimals}f}"
    if value < 100.0 and float(text) == 100.0:
        text = f"{100.0 - 10.0**-decimals:.{decimals}f}"
    return f"{text} %"


def duration(seconds: float | None) -> str:
    """A time span in the two units that matter, such as 3 h 12 min."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    rest = round(seconds)
    words = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2])


def moment(value: datetime | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time in UTC."""
    return NOTHING if value is None else value.astimezone(UTC).strftime(form)


def short(value: Any, length: int = 8) -> str:
    """The beginning of an identifier."""
    return str(value)[:length]


def words(name: str) -> str:
    """A name with underscores, for people."""
    return name.replace("_", " ")
