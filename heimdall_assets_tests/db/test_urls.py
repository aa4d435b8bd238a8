"""From settings to URLs: drivers, default names, and what is said where there is no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from heimdall_assets.db.urls import (
    DAGSTER_DRIVER,
    HEIMDALL_DRIVER,
    dagster_url,
    embedded_address_file,
    expected_dagster_url,
    heimdall_url,
)
from heimdall_assets.errors import DatabaseUnavailable, HeimdallError, SettingError
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "hunter2"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_spelling_of_the_scheme_gets_each_database_its_own_driver(scheme: str) -> None:
    settings = load_settings(database_url=f"{scheme}://user:{PASSWORD}@host:5433/heimdall?sslmode=require")
    url = heimdall_url(settings)
    assert url.render_as_string(hide_password=False) == (
        f"{HEIMDALL_DRIVER}://user:{PASSWORD}@host:5433/heimdall?sslmode=require"
    )
    assert dagster_url(settings) == url.set(drivername=DAGSTER_DRIVER, database="heimdall_dagster")
    assert expected_dagster_url(settings) == dagster_url(settings)


def test_dagster_may_have_a_server_of_its_own(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, dagster_database_url=f"postgres://d:{PASSWORD}@elsewhere/runs")
    assert dagster_url(settings).render_as_string() == f"{DAGSTER_DRIVER}://d:***@elsewhere/runs"
    with pytest.raises(DatabaseUnavailable):
        heimdall_url(settings)


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        (f"postgresql://user:{PASSWORD}@host:port/heimdall", "is not a URL like postgresql://user:password@host"),
        (f"postgresql://user:{PASSWORD}@[::1/heimdall", "is not a URL like postgresql://user:password@host"),
        (f"postgresql:user:{PASSWORD}", "is not a URL like postgresql://user:password@host"),
        (f"postgresql://user:{PASSWORD}@host", "postgresql://user:\\*\\*\\*@host names no database"),
        (f"postgresql://user:{PASSWORD}@host/", "postgresql://user:\\*\\*\\*@host/? names no database"),
    ],
)
@pytest.mark.parametrize("variable", ["HEIMDALL_DATABASE_URL", "HEIMDALL_DAGSTER_DATABASE_URL"])
def test_a_url_that_cannot_be_used_names_its_variable_and_hides_its_password(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str, meaning: str
) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://host/heimdall")
    monkeypatch.setenv(variable, url)
    with pytest.raises(SettingError, match=f"^{variable}.*{meaning}") as caught:
        dagster_url(load_settings())
    assert PASSWORD not in caught.value.message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("ssl=require", "ssl=require is an option of another driver.*; write sslmode=require instead"),
        ("ssl=true", "write sslmode=require instead"),
        ("ssl=verify-full", "write sslmode=verify-full instead"),
        ("ssl=False", "write sslmode=disable instead"),
        ("sslmode=require&prepared_statement_cache_size=0", "prepared_statement_cache_size=0 is .*; leave it out"),
        ("currentSchema=heimdall&currentSchema=public", "currentSchema=heimdall,public is an option of another"),
        (f"passwd={PASSWORD}", r"passwd=\*\*\* is an option"),
    ],
)
@pytest.mark.parametrize("variable", ["HEIMDALL_DATABASE_URL", "HEIMDALL_DAGSTER_DATABASE_URL"])
def test_options_of_other_drivers_are_explained_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, options: str, said: str
) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://host/heimdall")
    monkeypatch.setenv(variable, f"postgresql+asyncpg://user:{PASSWORD}@host/heimdall?{options}")
    with pytest.raises(SettingError, match=f"^{variable}: .*{said}") as caught:
        dagster_url(load_settings())
    assert PASSWORD not in caught.value.message


def test_every_option_of_libpq_is_taken() -> None:
    url = "postgresql://host/heimdall?sslmode=verify-full&sslrootcert=/ca.pem&target_session_attrs=read-write&keepalives=1"
    assert len(heimdall_url(load_settings(database_url=url)).query) == 4


@hypothesis_settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_whatever_follows_the_scheme_is_a_url_or_a_setting_error(rest: str) -> None:
    try:
        url = heimdall_url(load_settings(database_url=f"postgresql://{rest}"))
    except SettingError as error:
        assert error.message.startswith("HEIMDALL_DATABASE_URL")  # noqa: PT017  # most texts raise nothing
    else:
        assert url.drivername == HEIMDALL_DRIVER
        assert url.database


def test_without_a_url_the_address_that_the_embedded_server_left_is_used(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    address = "postgresql://postgres:@/heimdall?host=/some/folder"
    embedded_address_file(tmp_path).write_text(f"{address}\n")
    assert heimdall_url(settings).query["host"] == "/some/folder"
    assert heimdall_url(settings).drivername == HEIMDALL_DRIVER
    assert dagster_url(settings).database == "heimdall_dagster"


def test_without_a_url_and_without_a_server_the_error_says_what_to_start_and_what_to_set(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    for ask in (heimdall_url, dagster_url):
        with pytest.raises(DatabaseUnavailable, match=r"start `heimdall up` .* or set HEIMDALL_DATABASE_URL"):
            ask(settings)


def test_an_address_that_is_still_being_written_is_no_server_yet(tmp_path: Path) -> None:
    embedded_address_file(tmp_path).touch()
    with pytest.raises(DatabaseUnavailable, match="no embedded PostgreSQL runs"):
        heimdall_url(load_settings(home=tmp_path))


def test_dagsters_database_of_a_stopped_embedded_server_is_known_all_the_same(tmp_path: Path) -> None:
    url = expected_dagster_url(load_settings(home=tmp_path))
    assert (url.drivername, url.database) == (DAGSTER_DRIVER, "heimdall_dagster")
    assert url.query["host"] == str(tmp_path / "postgres")


def test_a_bad_url_is_an_error_even_where_the_server_need_not_run(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, database_url="postgresql://host")
    with pytest.raises(HeimdallError, match="names no database"):
        expected_dagster_url(settings)
