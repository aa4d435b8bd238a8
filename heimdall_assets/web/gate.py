"""What every request passes before it is looked at, and every answer on its way out: limits and headers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fastapi import HTTPException, status
from starlette.datastructures import Headers, MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from heimdall_assets.web.rates import Rates

MAX_BODY_BYTES = 64 * 1024
UNLIMITED = ("/health", "/static/")
"""What monitors and the pages themselves ask for all the time."""

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # no-referrer would make browsers hide the origin of our own forms from us
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Gate:
    """ASGI middleware: refuses bodies that are too large and clients that ask too often; adds security headers.

    Parameters
    ----------
    app : ASGI application
        What lies behind it.
    rates : Rates
        How often a client may ask.
    """

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        address = client_address(scope)
        wait_s = None if scope["path"].startswith(UNLIMITED) else self._rates.retry_after(address)
        if wait_s is not None:
            text = f"too many requests from this address: try again in {wait_s} s"
            await _refuse(send_with_headers, status.HTTP_429_TOO_MANY_REQUESTS, text, wait_s)
            return
        if _announced_bytes(scope) > MAX_BODY_BYTES:
            await _refuse(send_with_headers, status.HTTP_413_CONTENT_TOO_LARGE, _TOO_LARGE)
            return
        await self._app(scope, _bounded(receive), send_with_headers)


_TOO_LARGE = f"the body is larger than {MAX_BODY_BYTES} bytes"


def client_address(scope: Scope) -> str:
    """Where a request comes from, behind a proxy on this machine too (uvicorn reads its X-Forwarded-For)."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _announced_bytes(scope: Scope) -> int:
    text = Headers(scope=scope).get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def _bounded(receive: Receive) -> Receive:
    """The body without an announced length, cut off where it becomes too large."""
    num_bytes = 0

    async def bounded() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > MAX_BODY_BYTES:
            raise HTTPException(status.HTTP_413_CONTENT_TOO_LARGE, _TOO_LARGE)
        return message

    return bounded


async def _refuse(send: Send, code: int, detail: str, wait_s: int | None = None) -> None:
    headers = [(b"content-type", b"application/json")]
    if wait_s is not None:
        headers.append((b"retry-after", str(wait_s).encode()))
    body = json.dumps({"detail": detail}).encode()
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
