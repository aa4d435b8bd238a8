"""Alerts: what a real webhook is told of real runs and checks, once, and that its URL stays a secret."""

from __future__ import annotations

import json
import logging
import socket
import threading
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from dagster import AssetCheckEvaluation, DagsterRunStatus, SensorResult, build_sensor_context

from heimdall_assets.defs.alerts import STALE_AFTER, Memory, alerts_sensor, tell_changes
from heimdall_assets.defs.checks import CHECKS
from heimdall_assets.defs.retention import REPOSITORY_LABEL
from heimdall_assets.defs.webhook import Problem, Webhook
from heimdall_assets.errors import WebhookFailed
from heimdall_assets.settings import current_settings
from heimdall_assets_tests.factory import GOOD, TRUNCATED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heimdall_assets_tests.defs.conftest import Dagster
    from heimdall_assets_tests.factory import SessionFactory

OURS = {".dagster/repository": REPOSITORY_LABEL}
SECRET = "T0K3N"


@dataclass
class Receiver:
    """What a webhook got, and what it answers."""

    url: str
    status: int = 200
    bodies: list[dict[str, str]] = field(default_factory=list)
    location: str | None = None

    def take(self) -> list[dict[str, str]]:
        """What came since the last look."""
        bodies, self.bodies = self.bodies, []
        return bodies


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook on this machine."""
    found = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if found.status == 200:
                found.bodies.append(body)
            self.send_response(found.status)
            if found.location:
                self.send_header("Location", found.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/services/{SECRET}?wait=true"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def url(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, environment: object) -> str:
    """The setting names the webhook."""
    monkeypatch.setenv("HEIMDALL_ALERT_WEBHOOK_URL", receiver.url)
    current_settings.cache_clear()
    return receiver.url


def tick(dagster: Dagster, cursor: str | None) -> tuple[str, str]:
    """An evaluation of the sensor: its cursor, and what it says."""
    with build_sensor_context(instance=dagster.instance, cursor=cursor) as context:
        answer = alerts_sensor(context)
    assert isinstance(answer, SensorResult)
    assert not answer.run_requests
    assert answer.skip_reason is not None
    return answer.cursor or "", str(answer.skip_reason.skip_message)


def evaluate(dagster: Dagster, name: str, *, passed: bool, description: str = "") -> None:
    """A check is evaluated, as the schedule does it."""
    (check,) = [check for check in CHECKS if check.name == name]
    dagster.instance.report_runless_asset_event(
        AssetCheckEvaluation(
            asset_key=check.asset_key,
            check_name=name,
            passed=passed,
            severity=check.severity,
            description=description,
        )
    )


def crash(dagster: Dagster, job_name: str = "extract_features", **more: Any) -> str:
    """A run whose process ended without a word; its id."""
    run = dagster.add_run(DagsterRunStatus.STARTED, job_name, tags=more.pop("tags", OURS))
    dagster.instance.report_run_failed(run, message="The process of this run ended without a word.")
    return run.run_id


def test_without_a_webhook_nothing_happens_and_the_tick_names_the_variable(dagster: Dagster) -> None:
    evaluate(dagster, "coverage_is_high", passed=False)
    assert tick(dagster, '{"anything": 1}') == ("", "HEIMDALL_ALERT_WEBHOOK_URL is not set")


def test_a_failing_check_is_told_once_and_once_when_it_is_over(dagster: Dagster, receiver: Receiver, url: str) -> None:
    evaluate(dagster, "coverage_is_high", passed=True)
    evaluate(dagster, "no_receiver_is_quiet", passed=False, description="1 of 7 receivers quiet: RX2")
    cursor, said = tick(dagster, None)
    (problem,) = receiver.take()
    since = datetime.fromisoformat(problem.pop("since"))
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=1)
    assert problem == {
        "source": "heimdall_assets",
        "event": "problem",
        "key": "check:no_receiver_is_quiet",
        "severity": "warning",
        "title": "no_receiver_is_quiet fails",
        "message": "1 of 7 receivers quiet: RX2",
        "url": "http://127.0.0.1:3000/assets/receiver_health?view=checks&checkDetail=no_receiver_is_quiet",
    }
    assert said == "told the webhook of 1 changes; open problems: check:no_receiver_is_quiet"
    evaluate(dagster, "no_receiver_is_quiet", passed=False, description="2 of 7 receivers quiet: RX2, RX5")
    cursor, said = tick(dagster, cursor)
    assert (receiver.take(), said[:28]) == ([], "told the webhook of 0 change")
    evaluate(dagster, "no_receiver_is_quiet", passed=True)
    cursor, said = tick(dagster, cursor)
    (over,) = receiver.take()
    assert (over["event"], over["key"]) == ("over", "check:no_receiver_is_quiet")
    assert datetime.fromisoformat(over["since"]) == since
    assert said == "told the webhook of 1 changes; open problems: none"
    assert tick(dagster, cursor)[1] == "told the webhook of 0 changes; open problems: none"
    assert receiver.take() == []


def test_a_run_that_crashed_is_told_and_over_when_the_job_succeeds(
    dagster: Dagster, receiver: Receiver, url: str, factory: SessionFactory
) -> None:
    crash(dagster)  # before anybody looked
    cursor, _ = tick(dagster, None)
    assert receiver.take() == []
    run_id = crash(dagster)
    cursor, _ = tick(dagster, cursor)
    (problem,) = receiver.take()
    assert (problem["key"], problem["severity"]) == ("run:extract_features", "error")
    assert problem["url"] == f"http://127.0.0.1:3000/runs/{run_id}"
    assert "ended without a word" in problem["message"]
    crash(dagster)
    cursor, _ = tick(dagster, cursor)
    assert receiver.take() == []  # told already
    (key,) = dagster.register([factory.add()])
    assert dagster.run("extract_features", tags={"dagster/partition": key, **OURS}).success
    cursor, _ = tick(dagster, cursor)
    assert [(body["event"], body["key"]) for body in receiver.take()] == [("over", "run:extract_features")]
    tick(dagster, cursor)
    assert receiver.take() == []


def test_a_batch_whose_sessions_failed_did_what_it_could_and_is_no_problem(
    dagster: Dagster, receiver: Receiver, url: str, factory: SessionFactory
) -> None:
    cursor, _ = tick(dagster, None)
    crash(dagster)
    cursor, _ = tick(dagster, cursor)
    assert len(receiver.take()) == 1
    keys = dagster.register([factory.add((TRUNCATED,)), factory.add((GOOD,), minutes=5)])
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1], **OURS}
    assert not dagster.run("extract_features", tags=tags).success
    cursor, said = tick(dagster, cursor)
    assert [body["event"] for body in receiver.take()] == ["over"]
    assert said.endswith("open problems: none")


def test_runs_of_other_code_locations_and_cancelled_ones_are_nobodys_problem(
    dagster: Dagster, receiver: Receiver, url: str
) -> None:
    cursor, _ = tick(dagster, None)
    crash(dagster, tags={".dagster/repository": "__repository__@others"})
    dagster.add_run(DagsterRunStatus.CANCELED, tags=OURS)
    tick(dagster, cursor)
    assert receiver.take() == []


def test_what_the_webhook_does_not_accept_is_told_at_the_next_tick(
    dagster: Dagster, receiver: Receiver, url: str
) -> None:
    cursor, _ = tick(dagster, None)
    receiver.status = 503
    crash(dagster)
    evaluate(dagster, "pending_is_young", passed=False)
    cursor, said = tick(dagster, cursor)
    assert said == "webhook_failed: the webhook at 127.0.0.1 answers 503"
    receiver.status = 200
    cursor, _ = tick(dagster, cursor)
    assert [body["key"] for body in receiver.take()] == ["check:pending_is_young", "run:extract_features"]
    tick(dagster, cursor)
    assert receiver.take() == []


def test_the_url_is_in_no_message_log_or_cursor(
    dagster: Dagster, receiver: Receiver, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    evaluate(dagster, "coverage_is_high", passed=False)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/{SECRET}"
    said = [*tick(dagster, None)]
    for address in (nobody, f"https://no-such-host.invalid/{SECRET}"):
        monkeypatch.setenv("HEIMDALL_ALERT_WEBHOOK_URL", address)
        current_settings.cache_clear()
        cursor, message = tick(dagster, None)
        assert message.startswith("webhook_failed: the webhook at ")
        said += [cursor, message]
        with pytest.raises(WebhookFailed) as failure:
            Webhook(address, "json").tell(Problem("k", "error", "t", "m", "u"), is_over=False, since=datetime.now(UTC))
        assert failure.value.__suppress_context__
        said += [repr(Webhook(address, "json")), repr(current_settings()), failure.value.message]
    assert SECRET not in "".join(said)
    assert SECRET not in caplog.text


def test_a_redirection_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.location = 307, receiver.url
    with pytest.raises(WebhookFailed, match=r"the webhook at 127\.0\.0\.1 answers 307"):
        Webhook(receiver.url, "json").tell(Problem("k", "error", "t", "m", "u"), is_over=False, since=datetime.now(UTC))
    assert receiver.take() == []


def test_slack_reads_text_in_which_nothing_of_ours_is_markup(receiver: Receiver) -> None:
    problem = Problem("check:x", "warning", "x fails", "RX<1> & <!channel>", "http://127.0.0.1:3000/assets/x")
    webhook = Webhook(receiver.url, "slack")
    webhook.tell(problem, is_over=False, since=datetime.now(UTC))
    webhook.tell(problem, is_over=True, since=datetime.now(UTC))
    noticed, over = receiver.take()
    assert noticed == {
        "text": ":warning: *x fails*: RX&lt;1&gt; &amp; &lt;!channel&gt; <http://127.0.0.1:3000/assets/x|look>"
    }
    assert over["text"].startswith(":white_check_mark: over: *x fails*")


def test_checks_that_are_not_evaluated_any_more_are_a_problem_but_not_after_a_night_without_the_daemon(
    dagster: Dagster, receiver: Receiver, url: str
) -> None:
    evaluate(dagster, "coverage_is_high", passed=True)
    webhook, settings = Webhook(url, "json"), current_settings()
    start = datetime.now(UTC)
    cursor: str | None = None
    for minutes in range(0, int(STALE_AFTER.total_seconds() / 60) + 4, 3):
        memory, _ = tell_changes(dagster.instance, webhook, settings, cursor, now=start + timedelta(minutes=minutes))
        cursor = memory.text()
    (problem,) = receiver.take()
    assert (problem["event"], problem["key"]) == ("problem", "checks:stale")
    evaluate(dagster, "coverage_is_high", passed=True)
    memory, _ = tell_changes(dagster.instance, webhook, settings, cursor, now=start)
    assert [body["event"] for body in receiver.take()] == ["over"]
    tell_changes(dagster.instance, webhook, settings, memory.text(), now=start + timedelta(hours=9))
    assert receiver.take() == []


@pytest.mark.parametrize("cursor", [None, "", "garbage", "{}", '{"runs_until": 1}', "[]"])
def test_any_cursor_can_be_read(cursor: str | None) -> None:
    now = datetime.now(UTC)
    assert Memory.parse(cursor, now) == Memory(now, now, now)


def test_a_cursor_is_read_back_as_it_was() -> None:
    now = datetime.now(UTC)
    memory = Memory(now, now, now, ("a",)).having(Problem("k", "error", "t", "m", "u"), now)
    assert Memory.parse(memory.text(), now) == memory
