"""`heimdall db`: migrations, and the embedded PostgreSQL on its own."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from heimdall_assets import embedded
from heimdall_assets.cli.console import DebugOption, JsonOption, err, out, print_json, reporting
from heimdall_assets.db import migrate, sources
from heimdall_assets.db.engine import open_engine, transaction
from heimdall_assets.db.grants import grants as role_grants
from heimdall_assets.db.urls import embedded_address_file, heimdall_url
from heimdall_assets.errors import DatabaseUnavailable, WrongDatabase
from heimdall_assets.processes import stop_signals
from heimdall_assets.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from heimdall_assets.settings import Settings

RECHECK_S = 60.0
"""How long an upgrade looks at sessions whose features may be stale by this version's rules; the planner goes on."""

app = typer.Typer(help="The database: migrations, and the embedded PostgreSQL.", no_args_is_help=True)


@contextmanager
def connected(settings: Settings) -> Iterator[Engine]:
    """Engine of the configured database, or of the embedded one, which is started for the block if need be.

    Raises
    ------
    DatabaseError
        It is not available, or was not upgraded to this version.
    """
    with embedded.database(settings):
        engine = open_engine(heimdall_url(settings))
        try:
            migrate.require_current(engine)
            yield engine
        finally:
            engine.dispose()


@app.command("upgrade")
def upgrade(
    sql: Annotated[bool, typer.Option("--sql", help="Print the migrations as SQL and change nothing.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring the database to this version's tables; safe to repeat.

    Example: HEIMDALL_DATABASE_URL=postgresql://heimdall@db/heimdall heimdall db upgrade --sql
    """
    with reporting(as_json=as_json, debug=debug):
        settings = load_settings()
        if sql:
            sys.stdout.write(_sql_for(settings))
            return
        with embedded.database(settings):
            engine = open_engine(heimdall_url(settings))
            try:
                before, after = migrate.upgrade(engine)
                sources.work_off_for(engine, RECHECK_S)
            finally:
                engine.dispose()
        if as_json:
            print_json({"before": before, "after": after})
        else:
            out.print(f"database at revision {after}" + (", as it was" if before == after else f" (was: {before})"))


@app.command("grants")
def grants(
    role: Annotated[str, typer.Argument(help="Name of a role.")],
    ingest: Annotated[bool, typer.Option("--ingest", help="It may also register recordings.")] = False,
    debug: DebugOption = False,
) -> None:
    """Print what lets a role run the pipeline where another one owns the tables; run by the owner.

    Example: heimdall db grants heimdall_runtime | psql -v ON_ERROR_STOP=1 heimdall
    """
    with reporting(as_json=False, debug=debug):
        sys.stdout.writelines(f"{statement};\n" for statement in role_grants(role, ingest=ingest))


def _sql_for(settings: Settings) -> str:
    """The migrations that the database lacks, as it is; all of them where it cannot be asked."""
    try:
        engine = open_engine(heimdall_url(settings))
        try:
            before = migrate.current_revision(engine)
            with transaction(engine) as connection:
                catalog = migrate.catalog_of(connection)
        finally:
            engine.dispose()
    except (DatabaseUnavailable, WrongDatabase) as error:  # it may not exist yet
        err.print(f"-- {error.message}: all migrations follow", markup=False)
        return migrate.upgrade_sql(None)
    return migrate.upgrade_sql(before, catalog)


@app.command("serve")
def serve(
    while_used: Annotated[
        bool, typer.Option("--while-used", help="End by itself when no process uses the server any more.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Run the embedded PostgreSQL until SIGINT or SIGTERM, to keep it running between commands.

    Example: heimdall db serve
    """
    with reporting(as_json=False, debug=debug), stop_signals() as stopped:
        settings = load_settings(database_url=None)
        if while_used:
            embedded.serve_while_used(settings, stopped)
            return
        with connected(settings):
            address = embedded_address_file(settings.home)
            out.print(f"PostgreSQL is running; its URL is in {address}", markup=False)
            sys.stdout.flush()
            stopped.wait()
