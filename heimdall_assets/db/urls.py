"""Which server and which databases: from the settings to SQLAlchemy URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from heimdall_assets.errors import DatabaseUnavailable, SettingError
from heimdall_assets.settings import without_password

if TYPE_CHECKING:
    from pathlib import Path

    from heimdall_assets.settings import Settings

HEIMDALL_DRIVER = "postgresql+psycopg"
DAGSTER_DRIVER = "postgresql+psycopg2"
"""dagster-postgres is written for psycopg2; SQLAlchemy 2.1 takes plain ``postgresql://`` for psycopg 3."""

_SSLMODES = {
    **{mode: mode for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")},
    **dict.fromkeys(("false", "0", "off", "no"), "disable"),
}
"""By the value that other drivers take for ``ssl``."""

EMBEDDED_DATABASE = "heimdall"


def embedded_address_file(home: Path) -> Path:
    """File in which a running embedded PostgreSQL leaves its URL, readable by its owner alone."""
    return home / "postgres.url"


def heimdall_url(settings: Settings) -> URL:
    """URL of Heimdall's database for the project's own engine.

    Raises
    ------
    DatabaseUnavailable
        No URL is set and no embedded PostgreSQL is running under HEIMDALL_HOME.
    SettingError
        HEIMDALL_DATABASE_URL cannot be parsed.
    """
    if settings.database_url is not None:
        return _parse(settings.database_url, "HEIMDALL_DATABASE_URL").set(drivername=HEIMDALL_DRIVER)
    try:
        address = embedded_address_file(settings.home).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        address = ""
    if not address:  # an empty one is about to be written
        raise DatabaseUnavailable(
            f"HEIMDALL_DATABASE_URL is not set and no embedded PostgreSQL runs under {settings.home}: "
            "start `heimdall up` or `heimdall db serve`, or set HEIMDALL_DATABASE_URL"
        )
    return make_url(address).set(drivername=HEIMDALL_DRIVER)


def dagster_url(settings: Settings) -> URL:
    """URL of Dagster's database; by default ``<name>_dagster`` on the server of Heimdall's."""
    if settings.dagster_database_url is not None:
        url = _parse(settings.dagster_database_url, "HEIMDALL_DAGSTER_DATABASE_URL")
        return url.set(drivername=DAGSTER_DRIVER)
    ours = heimdall_url(settings)
    return ours.set(drivername=DAGSTER_DRIVER, database=f"{ours.database}_dagster")


def expected_dagster_url(settings: Settings) -> URL:
    """URL of Dagster's database, also while the embedded server that holds it is not running."""
    try:
        return dagster_url(settings)
    except DatabaseUnavailable:
        place = {"host": str(settings.home / "postgres")}
        return URL.create(DAGSTER_DRIVER, "postgres", database=f"{EMBEDDED_DATABASE}_dagster", query=place)


def _parse(value: str, variable: str) -> URL:
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):  # ValueError: the port is no number
        raise SettingError(f"{variable} is not a URL like postgresql://user:password@host:5432/name") from None
    if "@" in (url.host or ""):
        raise SettingError(f"{variable}: an @ in user or password is written %40")
    if not url.database:
        raise SettingError(f"{variable}={without_password(value)} names no database")
    _refuse_unknown_options(url, variable)
    return url


def _refuse_unknown_options(url: URL, variable: str) -> None:
    """Raise for an option in a URL that libpq does not know; URLs are often those of another driver."""
    if not url.query:
        return
    from psycopg.pq import Conninfo  # noqa: PLC0415  # most URLs need none of it

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    for option, given in url.query.items():
        if option in known:
            continue
        value = given if isinstance(given, str) else ",".join(given)
        remedy = "leave it out"
        if option in {"ssl", "ssl_mode", "tls"}:
            remedy = f"write sslmode={_SSLMODES.get(value.lower(), 'require')} instead"
        shown = "***" if "pass" in option.lower() else value
        raise SettingError(
            f"{variable}: {option}={shown} is an option of another driver, such as asyncpg or JDBC; {remedy} "
            "(options are those of libpq)"
        )
