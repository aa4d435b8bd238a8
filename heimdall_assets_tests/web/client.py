"""A plain HTTP client for tests: it follows no redirection and sends no header that it was not given."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit


@dataclass(frozen=True)
class Answer:
    """Status, headers (names in lower case) and body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Asks one server.

    Attributes
    ----------
    address : str
        Such as http://127.0.0.1:8010.
    token : str or None
        Sent as a bearer token.
    headers : dict
        Sent too.
    """

    address: str
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, document: Any = None, *, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request; a document goes as JSON. Underscores in the names of headers stand for hyphens."""
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        if document is not None:
            body = json.dumps(document).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.ask("GET", path, None, body=None, **headers)

    def post(self, path: str, document: Any = None, **headers: str) -> Answer:
        """POST, with a JSON body where a document is given."""
        return self.ask("POST", path, document, body=None, **headers)

    def log_in(self, token: str, **form: str) -> Answer:
        """Send the log-in form."""
        body = urlencode({"token": token, **form}).encode()
        return self.ask("POST", "/login", body=body, Content_Type="application/x-www-form-urlencoded")
