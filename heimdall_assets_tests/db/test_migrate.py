"""Migrations: from nothing, from where they were, twice, at once, and as SQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from heimdall_assets.db import migrate
from heimdall_assets.db.engine import autocommit, open_engine, transaction
from heimdall_assets.db.tables import SCHEMA, metadata
from heimdall_assets.errors import WrongDatabase
from heimdall_assets_tests.conftest import drop_database, make_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Engine


@pytest.fixture
def empty(server_url: URL) -> Iterator[Engine]:
    """Engine of a database without any table."""
    url = make_database(server_url, template="template0")
    engine = open_engine(url)
    yield engine
    engine.dispose()
    drop_database(url)


def differences(engine: Engine) -> list[Any]:
    """Where the database and tables.py disagree; indexes and foreign keys are the migrations' own affair."""
    options = {
        "include_schemas": True,
        "compare_type": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
        "include_object": lambda _o, name, kind, _r, _c: (
            kind not in {"index", "foreign_key_constraint"} and name != "feature_alembic_version"
        ),
    }
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_an_empty_database_gets_the_tables_that_the_code_expects_and_a_repetition_changes_nothing(
    empty: Engine,
) -> None:
    assert migrate.upgrade(empty) == (None, migrate.head_revision())
    assert differences(empty) == []
    assert migrate.upgrade(empty) == (migrate.head_revision(), migrate.head_revision())
    migrate.require_current(empty)


def test_two_upgrades_at_once_take_turns(empty: Engine) -> None:
    with ThreadPoolExecutor(2) as pool:
        afters = [future.result()[1] for future in [pool.submit(migrate.upgrade, empty) for _ in range(2)]]
    assert afters == [migrate.head_revision()] * 2
    assert differences(empty) == []


def test_the_printed_sql_makes_the_same_database(empty: Engine) -> None:
    with autocommit(empty) as connection:
        for statement in _statements(migrate.upgrade_sql(None)):
            connection.exec_driver_sql(statement)
    migrate.require_current(empty)
    assert differences(empty) == []


def _statements(script: str) -> list[str]:
    """A script's statements, as psql would send them; BEGIN and COMMIT are not needed in autocommit."""
    statements, quoted = [""], False
    for part in script.split(";"):
        statements[-1] += part
        quoted ^= part.count("$$") % 2 == 1
        if quoted:
            statements[-1] += ";"
        else:
            statements.append("")
    return [text.strip() for text in statements if text.strip() not in {"", "BEGIN", "COMMIT"}]


def test_a_database_that_was_never_upgraded_says_what_to_do(empty: Engine) -> None:
    with pytest.raises(WrongDatabase, match="was never upgraded: run `heimdall db upgrade`"):
        migrate.require_current(empty)


def test_a_database_of_a_newer_version_is_left_alone(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.text("UPDATE heimdall.feature_alembic_version SET version_num = '9999'"))
    for action in (migrate.require_current, migrate.upgrade):
        with pytest.raises(WrongDatabase, match="revision 9999, which this version does not know"):
            action(engine)


def test_a_role_without_privileges_gets_a_clear_error(empty: Engine) -> None:
    name = f"reader_{empty.url.database}"
    with autocommit(empty) as connection:
        connection.execute(sa.text(f"CREATE ROLE {name} LOGIN"))
    reader = open_engine(empty.url.set(username=name))
    try:
        with pytest.raises(WrongDatabase, match="lacks a privilege"):
            migrate.upgrade(reader)
    finally:
        reader.dispose()
        with autocommit(empty) as connection:
            connection.execute(sa.text(f"DROP ROLE {name}"))
