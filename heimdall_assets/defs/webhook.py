"""Telling a webhook of a problem: one POST, in plain JSON or as Slack and those like it read it."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests

from heimdall_assets.errors import WebhookFailed
from heimdall_assets.settings import AlertFormat

TIMEOUT_S = 10.0

# Its messages name the path of a URL, which here is a secret.
logging.getLogger("urllib3.connectionpool").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Problem:
    """Something that operators have to know.

    Attributes
    ----------
    key : str
        The same problem has the same one.
    severity : str
        error or warning.
    title, message : str
        What is wrong, and the figures.
    url : str
        Where to look.
    """

    key: str
    severity: str
    title: str
    message: str
    url: str


@dataclass(frozen=True)
class Webhook:
    """Where alerts go.

    Attributes
    ----------
    url : str
        A secret: it is in no message and no log.
    style : str
        What the receiver reads, see ``HEIMDALL_ALERT_FORMAT``.
    """

    url: str = field(repr=False)
    style: AlertFormat

    def tell(self, problem: Problem, *, is_over: bool, since: datetime) -> None:
        """Send one message; what is not accepted is for the caller to send again.

        Parameters
        ----------
        problem : Problem
            What it is about.
        is_over : bool
            False: it was noticed; True: it is over.
        since : datetime
            When it was noticed.

        Raises
        ------
        WebhookFailed
            Nobody answered, or not with success; names the host and no more.
        """
        body = _slack(problem, is_over) if self.style == "slack" else _plain(problem, is_over, since)
        try:
            # A redirection might lead to anybody.
            answer = requests.post(self.url, json=body, timeout=TIMEOUT_S, allow_redirects=False)
        except requests.RequestException as error:
            # from None: the error's text, and that of its causes, hold the URL
            raise WebhookFailed(f"the webhook at {self._host} does not answer ({type(error).__name__})") from None
        if not answer.ok or answer.is_redirect:
            raise WebhookFailed(f"the webhook at {self._host} answers {answer.status_code}")

    @property
    def _host(self) -> str:
        return urlsplit(self.url).hostname or "?"


def _plain(problem: Problem, is_over: bool, since: datetime) -> dict[str, str]:
    return {
        "source": "heimdall_assets",
        "event": "over" if is_over else "problem",
        "key": problem.key,
        "severity": problem.severity,
        "title": problem.title,
        "message": problem.message,
        "url": problem.url,
        "since": since.astimezone(UTC).isoformat(timespec="seconds"),
    }


def _slack(problem: Problem, is_over: bool) -> dict[str, str]:
    sign = ":white_check_mark: over:" if is_over else ":red_circle:" if problem.severity == "error" else ":warning:"
    return {"text": f"{sign} *{_escaped(problem.title)}*: {_escaped(problem.message)} <{problem.url}|look>"}


def _escaped(text: str) -> str:
    """What Slack would read as markup is text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
