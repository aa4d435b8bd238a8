"""`heimdall requests`: what is listed, shown and cancelled, in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import typer

from heimdall_assets.cli import requests as cli
from heimdall_assets.cli.requests import selection_text
from heimdall_assets.db import discovery, requests
from heimdall_assets.db.engine import transaction
from heimdall_assets.db.requests import Selection
from heimdall_assets.records import FEATURE_VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from heimdall_assets_tests.factory import SessionFactory

PROGRESS = {"total_found", "tasks_queued", "done", "failed", "remaining", "num_batches", "eta_seconds"}

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def request_id(factory: SessionFactory, engine: Engine, environment: Path) -> UUID:
    """A request for two pending sessions that the planner has taken in."""
    factory.add_many(2)
    with transaction(engine) as connection:
        key = requests.submit(connection, Selection(pending=True), requested_by="an operator")
        discovery.discover(connection)
        requests.take_in(connection, feature_version=FEATURE_VERSION)
    return key


def printed(capsys: pytest.CaptureFixture[str], command: Any, *arguments: str, as_json: bool = True) -> Any:
    """What a command prints, parsed if it is JSON."""
    capsys.readouterr()
    command(*arguments, as_json=as_json)
    output = capsys.readouterr().out
    return json.loads(output) if as_json else output


def test_requests_are_listed_with_their_progress_and_who_asked_for_what(
    capsys: pytest.CaptureFixture[str], request_id: UUID
) -> None:
    (document,) = printed(capsys, cli.list_requests)
    assert set(document) > PROGRESS
    assert (document["request_id"], document["status"]) == (str(request_id), "running")
    assert (document["total_found"], document["remaining"], document["requested_by"]) == (2, 2, "an operator")
    assert document["selection"] == {"pending": True}
    assert printed(capsys, cli.show_request, str(request_id)) == document


def test_a_cancelled_request_stays_in_the_list(capsys: pytest.CaptureFixture[str], request_id: UUID) -> None:
    document = printed(capsys, cli.cancel_request, str(request_id))
    assert (document["status"], document["cancelled"], document["remaining"]) == ("cancelled", 2, 0)
    assert document["finished_at"]
    text = printed(capsys, cli.list_requests, as_json=False)
    assert str(request_id) in text
    assert "cancelled" in text
    assert "2 found, 0 done, 0 failed, 2 cancelled" in printed(capsys, cli.show_request, str(request_id), as_json=False)


def test_without_requests_the_list_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, cli.list_requests) == []
    assert printed(capsys, cli.list_requests, as_json=False) == "Nobody has asked for anything yet.\n"


@pytest.mark.parametrize(
    ("text", "code", "message"), [("x", 2, "'x' is not a request's UUID"), (None, 1, "no request")]
)
def test_an_id_that_names_no_request_is_an_error(
    capsys: pytest.CaptureFixture[str], text: str | None, code: int, message: str
) -> None:
    for command in (cli.show_request, cli.cancel_request):
        with pytest.raises(typer.Exit) as exit_info:
            command(text or str(uuid4()))
        assert exit_info.value.exit_code == code
        assert message in capsys.readouterr().err


def test_what_was_asked_for_reads_as_a_line() -> None:
    selection = {"pending": True, "stale": False, "session_ids": ["a", "b"], "batch_size": 3, "reason": None}
    assert selection_text(selection) == "pending, 2 sessions by id, batch size 3"
